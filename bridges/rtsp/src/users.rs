//! The file of users: a line `NAME:PASSWORD` for each.

use shm2_relay::secret::{SecretError, read_all};
use std::path::{Path, PathBuf};

/// A user who may watch.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Its name, also that of its role in the server.
    pub name: String,
    /// Its password.
    pub password: String,
}

// The password belongs into no log.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a file of users cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// It cannot be read, or others can write it.
    #[error(transparent)]
    File(#[from] SecretError),
    /// A line is wrong.
    #[error("{path:?}, line {line}: {why}; a line is NAME:PASSWORD")]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// It has no user.
    #[error("{path:?} has no user: a line is NAME:PASSWORD")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the users, and a warning about the file.
///
/// # Errors
/// When the file cannot be used.
pub fn read(path: &Path) -> Result<(Vec<User>, Option<String>), UsersError> {
    let secret = read_all(path)?;
    let mut users = Vec::<User>::new();
    for (number, line) in secret.text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why| UsersError::Line { path: path.into(), line: number + 1, why };
        let (name, password) = line.split_once(':').ok_or_else(|| wrong("there is no colon"))?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err(wrong("a name has letters, digits and - _ . @"));
        }
        if password.is_empty() {
            return Err(wrong("the password is empty"));
        }
        if users.iter().any(|user| user.name == name) {
            return Err(wrong("the user has a line already"));
        }
        users.push(User { name: name.into(), password: password.into() });
    }
    if users.is_empty() {
        return Err(UsersError::Empty { path: path.into() });
    }
    Ok((users, secret.warning))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm2_testing::TempPath;

    #[test]
    fn a_wrong_file_of_users_is_an_error_that_names_the_line() {
        let file = TempPath::new("users");
        let read = |text: &str| {
            std::fs::write(&*file, text).unwrap();
            std::fs::set_permissions(&*file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            read(&file)
        };
        let users = read("# who may watch\nanna:a:b\n\nnvr:c\n").unwrap().0;
        let found: Vec<_> = users.iter().map(|user| (&*user.name, &*user.password)).collect();
        assert_eq!(found, [("anna", "a:b"), ("nvr", "c")]);
        assert!(!format!("{users:?}").contains("a:b"));
        for (text, why) in [
            ("anna:a\nnvr\n", "line 2: there is no colon"),
            ("an na:a", "line 1: a name has"),
            ("anna:", "the password is empty"),
            ("anna:a\nanna:b", "line 2: the user has a line already"),
            ("# nobody\n", "has no user"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("NAME:PASSWORD"), "{error}");
        }
    }
}
