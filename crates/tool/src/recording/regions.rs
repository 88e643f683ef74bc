//! Which recorded region is published as which.

use shm2::Spec;

/// Other names for recorded regions.
pub struct Names {
    /// Recorded name and new name.
    map: Vec<(String, String)>,
    prefix: String,
}

impl Names {
    /// From `OLD=NEW` texts and a prefix for the last part of the other names.
    ///
    /// # Errors
    /// When a text is no such pair.
    pub fn new(map: &[String], prefix: Option<&str>) -> Result<Self, String> {
        let pair = |text: &String| -> Result<(String, String), String> {
            let (old, new) = text
                .split_once('=')
                .ok_or_else(|| format!("{text:?} is no pair of names: write OLD=NEW, and %3D for = within a name"))?;
            let whole = |name: &str| Ok(name.parse::<Spec>().map_err(|error| error.to_string())?.to_string());
            // A recorded name may be of another system.
            Ok((whole(old).unwrap_or_else(|_: String| old.into()), whole(new)?))
        };
        let prefix = prefix.unwrap_or_default();
        if prefix.contains('/') {
            return Err(format!("the prefix {prefix:?} has a slash: it goes before the last part of a name only"));
        }
        Ok(Self { map: map.iter().map(pair).collect::<Result<_, _>>()?, prefix: prefix.into() })
    }

    /// The name under which the region of this topic is published.
    pub fn of(&self, topic: &str) -> String {
        if let Some((_, new)) = self.map.iter().find(|(old, _)| old == topic) {
            return new.clone();
        }
        match topic.rsplit_once('/') {
            Some((folder, name)) => format!("{folder}/{}{name}", self.prefix),
            None => format!("{}{topic}", self.prefix),
        }
    }

    /// A name in the map that is not among the topics.
    pub fn unused<'a>(&'a self, mut topics: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let mut olds = self.map.iter().map(|(old, _)| old.as_str());
        let topics: Vec<_> = topics.by_ref().collect();
        olds.find(|old| !topics.contains(old))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_mapped_or_gets_the_prefix() {
        let names = Names::new(&["/dev/shm/a=shm:///dev/shm/b%3Dc".into()], Some("again-")).unwrap();
        assert_eq!(names.of("shm:///dev/shm/a"), "shm:///dev/shm/b=c".parse::<Spec>().unwrap().to_string());
        assert_eq!(names.of("shm:///dev/shm/other"), "shm:///dev/shm/again-other");
        assert_eq!(names.unused(["shm:///dev/shm/other"].into_iter()), Some("shm:///dev/shm/a"));
        assert_eq!(names.unused(["shm:///dev/shm/a"].into_iter()), None);
        for wrong in ["/dev/shm/a", "/dev/shm/a=b"] {
            assert!(Names::new(&[wrong.into()], None).is_err(), "{wrong}");
        }
        assert!(Names::new(&[], Some("x/")).is_err());
    }
}
