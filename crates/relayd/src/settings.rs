//! What the daemon is told, by its command line, its configuration file, or both: the command line goes first.

use crate::listen::{Address, AddressError};
use crate::machine::Timing;
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What can be given, each at most once; what repeats is a list. In a file the names are the same, with `_` for `-`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Pipeline that always runs; it begins with "appsrc name=appsrc"
    #[arg(long, value_name = "PIPELINE")]
    pub output: Option<String>,
    /// Pipeline that runs while somebody wants it, up to an element without anything behind it
    #[arg(long, value_name = "PIPELINE")]
    pub input: Option<String>,
    /// Pipeline that is shown while the input does not run
    #[arg(long, value_name = "PIPELINE")]
    pub splash: Option<String>,
    /// Where clients come to: tcp://HOST:PORT, unix:///PATH, vsock://CID:PORT; may be repeated [default: tcp://127.0.0.1:5555, unless --activate is given]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(default)]
    pub listen: Vec<String>,
    /// What else is demand: "consumers" of the output's region
    #[arg(long, value_name = "WHAT")]
    pub activate: Option<String>,
    /// Milliseconds that demand must last before the input starts, a number [default: 0]
    #[arg(long, value_name = "MS")]
    pub start_delay: Option<u64>,
    /// Milliseconds that the input runs on without demand [default: 2000]
    #[arg(long, value_name = "MS")]
    pub cool_down: Option<u64>,
    /// Milliseconds without a buffer after which the input is started anew; 0: never [default: 10000]
    #[arg(long, value_name = "MS")]
    pub frame_timeout: Option<u64>,
    /// Clients at a time, over all addresses [default: 64]
    #[arg(long, value_name = "COUNT")]
    pub max_clients: Option<usize>,
    /// File with a secret that a client must send as its first line
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// User that may come to a Unix socket; may be repeated [default: all who can open it]
    #[arg(long, value_name = "UID", hide = cfg!(not(unix)))]
    #[serde(default)]
    pub allow_uid: Vec<u32>,
    /// Socket at which `--status` asks [default: control in $RUNTIME_DIRECTORY, if that is set]
    #[arg(long, value_name = "PATH", hide = cfg!(not(unix)))]
    pub control: Option<PathBuf>,
    /// Address at which metrics can be fetched by HTTP, like 127.0.0.1:9100 [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<String>,
    /// Gone: the region is the output's
    #[arg(long, value_name = "PATH", hide = true)]
    #[serde(skip)]
    pub shm_path: Option<String>,
    /// Gone: the region is the output's
    #[arg(long, value_name = "BYTES", hide = true)]
    #[serde(skip)]
    pub shm_size: Option<String>,
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A file that cannot be read.
    #[error("cannot read {path:?}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file that is no configuration.
    #[error("{path:?}: {error}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where and why.
        error: toml::de::Error,
    },
    /// Something is missing.
    #[error("{0} is missing: give it as --{0} or in the configuration file")]
    Missing(&'static str),
    /// Something of the past.
    #[error(
        "--{0} is gone: the region belongs to the output now; write it there: \
         --output \"appsrc name=appsrc is-live=true format=time ! shm2sink shm-path=... shm-size=...\""
    )]
    Gone(&'static str),
    /// An address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Something else than consumers.
    #[error("--activate {0:?} is not known: the only one is \"consumers\"")]
    Activate(String),
    /// No clients at all.
    #[error("--max-clients 0 lets nobody in: give 1 or more")]
    NoClients,
    /// A secret that is none.
    #[error("{path:?} holds no secret: its first line is empty")]
    NoToken {
        /// The file.
        path: PathBuf,
    },
    /// An address for metrics.
    #[error("--metrics {text:?} is no address like 127.0.0.1:9100: {source}")]
    Metrics {
        /// What was given.
        text: String,
        /// Why not.
        source: std::net::AddrParseError,
    },
}

/// What it comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The pipeline that always runs.
    pub output: String,
    /// The pipeline that runs on demand.
    pub input: String,
    /// The pipeline that runs otherwise.
    pub splash: Option<String>,
    /// Where clients come to.
    pub listen: Vec<Address>,
    /// Whether consumers of the region are demand.
    pub consumers: bool,
    /// The machine's times.
    pub timing: Timing,
    /// Clients at a time.
    pub max_clients: usize,
    /// What a client must send first.
    pub token: Option<String>,
    /// Who may come to a Unix socket; all if empty.
    pub allow_uid: Vec<u32>,
    /// Where `--status` asks.
    pub control: Option<PathBuf>,
    /// Where metrics are.
    pub metrics: Option<std::net::SocketAddr>,
}

impl Given {
    /// What a file says.
    ///
    /// # Errors
    /// When it cannot be read, or has settings that are not known.
    pub fn from_file(path: &Path) -> Result<Self, SettingsError> {
        let text = read(path)?;
        toml::from_str(&text).map_err(|error| SettingsError::Syntax { path: path.into(), error })
    }

    /// With what `other` says where this says nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let list = |own: Vec<String>, other| if own.is_empty() { other } else { own };
        Self {
            output: self.output.or(other.output),
            input: self.input.or(other.input),
            splash: self.splash.or(other.splash),
            listen: list(self.listen, other.listen),
            activate: self.activate.or(other.activate),
            start_delay: self.start_delay.or(other.start_delay),
            cool_down: self.cool_down.or(other.cool_down),
            frame_timeout: self.frame_timeout.or(other.frame_timeout),
            max_clients: self.max_clients.or(other.max_clients),
            token_file: self.token_file.or(other.token_file),
            allow_uid: if self.allow_uid.is_empty() { other.allow_uid } else { self.allow_uid },
            control: self.control.or(other.control),
            metrics: self.metrics.or(other.metrics),
            shm_path: self.shm_path.or(other.shm_path),
            shm_size: self.shm_size.or(other.shm_size),
        }
    }

    /// Where `--status` asks.
    pub fn control_path(&self) -> Option<PathBuf> {
        let runtime = || std::env::var_os("RUNTIME_DIRECTORY").map(|dir| PathBuf::from(dir).join("control"));
        self.control.clone().or_else(runtime)
    }

    /// Checks all of it. `has_sockets`: the service manager gave some.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn settings(&self, has_sockets: bool) -> Result<Settings, SettingsError> {
        for (given, name) in [(&self.shm_path, "shm-path"), (&self.shm_size, "shm-size")] {
            if given.is_some() {
                return Err(SettingsError::Gone(name));
            }
        }
        let consumers = match self.activate.as_deref() {
            None => false,
            Some("consumers") => true,
            Some(other) => return Err(SettingsError::Activate(other.into())),
        };
        if self.max_clients == Some(0) {
            return Err(SettingsError::NoClients);
        }
        let default = Timing::default();
        let ms = |given: Option<u64>, default| given.map_or(default, Duration::from_millis);
        Ok(Settings {
            output: self.output.clone().ok_or(SettingsError::Missing("output"))?,
            input: self.input.clone().ok_or(SettingsError::Missing("input"))?,
            splash: self.splash.clone(),
            listen: self.addresses(consumers || has_sockets)?,
            consumers,
            timing: Timing {
                start_delay: ms(self.start_delay, default.start_delay),
                cool_down: ms(self.cool_down, default.cool_down),
                frame_timeout: ms(self.frame_timeout, default.frame_timeout),
                ..default
            },
            max_clients: self.max_clients.unwrap_or(64),
            token: self.token_file.as_deref().map(token).transpose()?,
            allow_uid: self.allow_uid.clone(),
            control: self.control_path(),
            metrics: self.metrics.as_deref().map(metrics).transpose()?,
        })
    }

    fn addresses(&self, has_others: bool) -> Result<Vec<Address>, AddressError> {
        match self.listen.is_empty() && !has_others {
            true => Ok(vec![Address::Tcp(([127, 0, 0, 1], 5555).into())]),
            false => self.listen.iter().map(|text| text.parse()).collect(),
        }
    }
}

fn read(path: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(path).map_err(|source| SettingsError::File { path: path.into(), source })
}

fn token(path: &Path) -> Result<String, SettingsError> {
    let text = read(path)?;
    let first = text.lines().next().unwrap_or_default();
    if first.is_empty() { Err(SettingsError::NoToken { path: path.into() }) } else { Ok(first.into()) }
}

fn metrics(text: &str) -> Result<std::net::SocketAddr, SettingsError> {
    text.parse().map_err(|source| SettingsError::Metrics { text: text.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command, FromArgMatches};

    fn from_arguments(arguments: &[&str]) -> Given {
        let command = Given::augment_args(Command::new("test").no_binary_name(true));
        Given::from_arg_matches(&command.get_matches_from(arguments)).unwrap()
    }

    #[test]
    fn file_and_command_line_say_the_same() {
        let arguments = from_arguments(&[
            "--output",
            "o",
            "--input",
            "i",
            "--splash",
            "s",
            "--listen",
            "tcp://127.0.0.1:1",
            "--listen",
            "unix:///x",
            "--activate",
            "consumers",
            "--start-delay",
            "1",
            "--cool-down",
            "2",
            "--frame-timeout",
            "3",
            "--max-clients",
            "4",
            "--allow-uid",
            "5",
            "--allow-uid",
            "6",
            "--control",
            "/c",
            "--metrics",
            "127.0.0.1:9",
            "--token-file",
            "/t",
        ]);
        let file = r#"
            output = "o"
            input = "i"
            splash = "s"
            listen = ["tcp://127.0.0.1:1", "unix:///x"]
            activate = "consumers"
            start_delay = 1
            cool_down = 2
            frame_timeout = 3
            max_clients = 4
            allow_uid = [5, 6]
            control = "/c"
            metrics = "127.0.0.1:9"
            token_file = "/t"
        "#;
        assert_eq!(toml::from_str::<Given>(file).unwrap(), arguments);
        let both = from_arguments(&["--input", "mine"]).or(arguments);
        assert_eq!((both.input.as_deref(), both.output.as_deref()), (Some("mine"), Some("o")));
    }

    #[test]
    fn what_cannot_be_is_one_clear_error() {
        let needed = ["--output", "o", "--input", "i"];
        for (arguments, text) in [
            (&["--activate", "x"][..], "--activate \"x\" is not known"),
            (&["--listen", "x"], "\"x\" is no address to listen at"),
            (&["--max-clients", "0"], "--max-clients 0 lets nobody in"),
            (&["--shm-path", "x"], "--output \"appsrc name=appsrc"),
            (&["--shm-size", "x"], "--shm-size is gone"),
            #[cfg(unix)]
            (&["--token-file", "/dev/null"], "\"/dev/null\" holds no secret"),
            (&["--token-file", "/nowhere"], "cannot read \"/nowhere\": "),
            (&["--metrics", "x"], "--metrics \"x\" is no address like 127.0.0.1:9100"),
        ] {
            let error = from_arguments(&[&needed, arguments].concat()).settings(false).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        let error = from_arguments(&needed[2..]).settings(false).unwrap_err().to_string();
        assert_eq!(error, "output is missing: give it as --output or in the configuration file");
        let error = toml::from_str::<Given>("colour = 1").unwrap_err().to_string();
        assert!(error.contains("unknown field `colour`"), "{error}");
    }

    #[test]
    fn it_listens_at_loopback_unless_there_is_something_else() {
        let settings = |arguments: &[&str], has_sockets| {
            from_arguments(&[&["--output", "o", "--input", "i"], arguments].concat())
                .settings(has_sockets)
                .unwrap()
                .listen
        };
        assert_eq!(settings(&[], false), ["tcp://127.0.0.1:5555".parse().unwrap()]);
        assert_eq!(settings(&[], true), []);
        assert_eq!(settings(&["--activate", "consumers"], false), []);
        assert_eq!(settings(&["--listen", "unix:///x"], false).len(), 1);
    }
}
