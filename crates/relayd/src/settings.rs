//! The daemon's settings, from its command line, its configuration file, or both: the command line overrides the file.

use crate::command::{self, FileError};
use crate::listen::{Address, AddressError, AddressText};
use crate::machine::Timing;
use crate::secret::{self, SecretError};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Settings as given. Options that may be repeated are lists. In a file the names are the same, with `_` for `-`.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Pipeline that always runs; it begins with "appsrc name=appsrc"
    #[arg(long, value_name = "PIPELINE")]
    pub output: Option<String>,
    /// Pipeline that runs while there is demand, without a sink
    #[arg(long, value_name = "PIPELINE")]
    pub input: Option<String>,
    /// Pipeline that is shown while the input does not run
    #[arg(long, value_name = "PIPELINE")]
    pub splash: Option<String>,
    /// Address that clients connect to: tcp://HOST:PORT, unix:///PATH, vsock://CID:PORT; may be repeated [default: tcp://127.0.0.1:5555, unless --activate is given]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(default)]
    pub listen: Vec<AddressText>,
    /// Further demand: "consumers" of the output's region, or readers of a device of v4l2loopback, "video-device:/dev/video10"; may be repeated
    #[arg(long, value_name = "WHAT")]
    #[serde(default, deserialize_with = "one_or_more")]
    pub activate: Vec<OsString>,
    /// Time that demand must last before the input starts, in milliseconds or as 2s [default: 0]
    #[arg(long, value_name = "MS")]
    pub start_delay: Option<Time>,
    /// Time that the input keeps running without demand, in milliseconds or as 2s [default: 2000]
    #[arg(long, value_name = "MS")]
    pub cool_down: Option<Time>,
    /// Time until the input's first buffer after which it is restarted, in milliseconds or as 2s; 0: never [default: 15000, or --frame-timeout if that is given]
    #[arg(long, value_name = "MS")]
    pub start_timeout: Option<Time>,
    /// Time without a further buffer after which the input is restarted, in milliseconds or as 2s; 0: never [default: 10000]
    #[arg(long, value_name = "MS")]
    pub frame_timeout: Option<Time>,
    /// Clients at a time, over all addresses [default: 64]
    #[arg(long, value_name = "COUNT")]
    pub max_clients: Option<usize>,
    /// File with a secret that a client must send as its first line
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// User that may connect to a Unix socket; may be repeated [default: all that can open it]
    #[arg(long, value_name = "UID", hide = cfg!(not(unix)))]
    #[serde(default)]
    pub allow_uid: Vec<u32>,
    /// Socket that answers `--status` [default: control in $RUNTIME_DIRECTORY, if that is set]
    #[arg(long, value_name = "PATH", hide = cfg!(not(unix)))]
    pub control: Option<PathBuf>,
    /// Address at which metrics can be fetched by HTTP, like 127.0.0.1:9100 [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<String>,
    /// Removed: the region belongs to the output
    #[arg(long, value_name = "PATH", hide = true)]
    #[serde(skip)]
    pub shm_path: Option<String>,
    /// Removed: the region belongs to the output
    #[arg(long, value_name = "BYTES", hide = true)]
    #[serde(skip)]
    pub shm_size: Option<String>,
}

/// An invalid setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A required setting is missing.
    #[error("{0} is missing: give it as --{0} or in the configuration file")]
    Missing(&'static str),
    /// An option of an earlier version.
    #[error(
        "--{0} was removed: the region belongs to the output; set it there: \
         --output \"appsrc name=appsrc is-live=true format=time ! shm2sink shm-path=... shm-size=...\""
    )]
    Gone(&'static str),
    /// An invalid address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// An unknown kind of demand.
    #[error("--activate {0:?} is not known: write \"consumers\" or \"video-device:/dev/video10\"")]
    Activate(OsString),
    /// A limit of no clients.
    #[error("--max-clients 0 accepts no client: give 1 or more")]
    NoClients,
    /// A secret that cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// An invalid address for metrics.
    #[error("--metrics {text:?} is not an address like 127.0.0.1:9100: {source}")]
    Metrics {
        /// The given text.
        text: String,
        /// The cause.
        source: std::net::AddrParseError,
    },
}

/// Checked settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The pipeline that always runs.
    pub output: String,
    /// The pipeline that runs on demand.
    pub input: String,
    /// The pipeline that runs while the input delivers nothing.
    pub splash: Option<String>,
    /// Addresses that clients connect to.
    pub listen: Vec<Address>,
    /// Whether consumers of the region are demand.
    pub consumers: bool,
    /// Devices of v4l2loopback whose readers are demand.
    pub video_devices: Vec<PathBuf>,
    /// The machine's times.
    pub timing: Timing,
    /// Clients at a time.
    pub max_clients: usize,
    /// Secret that a client must send first.
    pub token: Option<String>,
    /// Users that may connect to a Unix socket; all if empty.
    pub allow_uid: Vec<u32>,
    /// Path of the socket that answers `--status`.
    pub control: Option<PathBuf>,
    /// Address of the metrics.
    pub metrics: Option<std::net::SocketAddr>,
    /// What is wrong although it is used, for the log.
    pub warnings: Vec<String>,
}

/// A time as given: a number is in milliseconds (`250`), or a number has a unit (`250ms`, `1m 30s`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ms) = text.parse() {
            return Ok(Self(Duration::from_millis(ms)));
        }
        // No longer than a number can say, so that a clock can always add it.
        let fits = |time: &Duration| time.as_millis() <= u128::from(u64::MAX);
        let time = humantime::parse_duration(text).ok().filter(fits);
        time.map(Self).ok_or_else(|| "it is not a time: write for example 250 (milliseconds) or 2s".into())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of milliseconds or a time such as \"2s\"")
            }

            fn visit_u64<E: Error>(self, ms: u64) -> Result<Time, E> {
                Ok(Time(Duration::from_millis(ms)))
            }

            fn visit_i64<E: Error>(self, ms: i64) -> Result<Time, E> {
                let unexpected = || E::invalid_value(serde::de::Unexpected::Signed(ms), &self);
                u64::try_from(ms).map(|ms| Time(Duration::from_millis(ms))).map_err(|_| unexpected())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map_err(|error| E::custom(format!("{text:?}: {error}")))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

impl Given {
    /// Fills settings that are not given from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            output: self.output.or(other.output),
            input: self.input.or(other.input),
            splash: self.splash.or(other.splash),
            listen: if self.listen.is_empty() { other.listen } else { self.listen },
            activate: if self.activate.is_empty() { other.activate } else { self.activate },
            start_delay: self.start_delay.or(other.start_delay),
            cool_down: self.cool_down.or(other.cool_down),
            start_timeout: self.start_timeout.or(other.start_timeout),
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

    /// Path of the socket that answers `--status`.
    pub fn control_path(&self) -> Option<PathBuf> {
        command::control_path(self.control.as_deref())
    }

    /// Checks all settings. `has_sockets`: the service manager passed sockets.
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn settings(&self, has_sockets: bool) -> Result<Settings, SettingsError> {
        for (given, name) in [(&self.shm_path, "shm-path"), (&self.shm_size, "shm-size")] {
            if given.is_some() {
                return Err(SettingsError::Gone(name));
            }
        }
        let (consumers, video_devices) = self.activations()?;
        if self.max_clients == Some(0) {
            return Err(SettingsError::NoClients);
        }
        let secret = self.token_file.as_deref().map(secret::read).transpose()?;
        let default = Timing::default();
        let time = |given: Option<Time>, default| given.map_or(default, |Time(time)| time);
        Ok(Settings {
            output: self.output.clone().ok_or(SettingsError::Missing("output"))?,
            input: self.input.clone().ok_or(SettingsError::Missing("input"))?,
            splash: self.splash.clone(),
            listen: self.addresses(consumers || !video_devices.is_empty() || has_sockets)?,
            consumers,
            video_devices,
            timing: Timing {
                start_delay: time(self.start_delay, default.start_delay),
                cool_down: time(self.cool_down, default.cool_down),
                start_timeout: time(self.start_timeout.or(self.frame_timeout), default.start_timeout),
                frame_timeout: time(self.frame_timeout, default.frame_timeout),
                ..default
            },
            max_clients: self.max_clients.unwrap_or(64),
            warnings: secret.iter().filter_map(|secret| secret.warning.clone()).collect(),
            token: secret.map(|secret| secret.text),
            allow_uid: self.allow_uid.clone(),
            control: self.control_path(),
            metrics: self.metrics.as_deref().map(metrics).transpose()?,
        })
    }

    /// Whether consumers are demand, and the devices whose readers are.
    fn activations(&self) -> Result<(bool, Vec<PathBuf>), SettingsError> {
        let (mut consumers, mut devices) = (false, Vec::new());
        for what in &self.activate {
            match video_device(what) {
                Some(path) if path.is_absolute() => devices.push(path),
                None if what == "consumers" => consumers = true,
                _ => return Err(SettingsError::Activate(what.clone())),
            }
        }
        Ok((consumers, devices))
    }

    fn addresses(&self, has_others: bool) -> Result<Vec<Address>, AddressError> {
        match self.listen.is_empty() && !has_others {
            true => Ok(vec![Address::Tcp(([127, 0, 0, 1], 5555).into())]),
            false => self.listen.iter().map(AddressText::address).collect(),
        }
    }
}

/// The path behind `video-device:`.
#[cfg(unix)]
fn video_device(what: &OsStr) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    what.as_bytes().strip_prefix(b"video-device:").map(|path| OsStr::from_bytes(path).into())
}

#[cfg(not(unix))]
fn video_device(what: &OsStr) -> Option<PathBuf> {
    what.to_str()?.strip_prefix("video-device:").map(PathBuf::from)
}

/// A text, or a list of texts.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OsString>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        More(Vec<String>),
    }
    Ok(match Texts::deserialize(deserializer)? {
        Texts::One(text) => vec![text.into()],
        Texts::More(texts) => texts.into_iter().map(OsString::from).collect(),
    })
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
    fn file_and_command_line_accept_the_same_settings() {
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
            "--activate",
            "video-device:/dev/video10",
            "--start-delay",
            "1",
            "--cool-down",
            "2",
            "--start-timeout",
            "30",
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
            activate = ["consumers", "video-device:/dev/video10"]
            start_delay = 1
            cool_down = 2
            start_timeout = 30
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
    fn a_time_is_a_number_of_milliseconds_or_has_a_unit() {
        for (text, ms) in [
            ("0", 0),
            ("250", 250),
            ("60000", 60_000),
            ("18446744073709551615", u64::MAX),
            ("250ms", 250),
            ("2s", 2000),
        ] {
            assert_eq!(text.parse(), Ok(Time(Duration::from_millis(ms))), "{text}");
            let given = from_arguments(&["--output", "o", "--input", "i", "--cool-down", text]);
            assert_eq!(given.settings(false).unwrap().timing.cool_down, Duration::from_millis(ms), "{text}");
        }
        for text in ["", "-1", "0.5", "soon", "18446744073709551616", "900000000years"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
        for (text, ms) in [("0", 0), ("250", 250), ("\"250\"", 250), ("\"1m 30s\"", 90_000)] {
            let given = toml::from_str::<Given>(&format!("start_delay = {text}")).unwrap();
            assert_eq!(given.start_delay, Some(Time(Duration::from_millis(ms))), "{text}");
        }
        for text in ["-1", "0.5", "true", "\"soon\""] {
            let error = toml::from_str::<Given>(&format!("start_delay = {text}")).unwrap_err().to_string();
            assert!(error.contains("milliseconds"), "{error}");
        }
    }

    #[test]
    fn each_invalid_setting_is_one_clear_error() {
        let needed = ["--output", "o", "--input", "i"];
        for (arguments, text) in [
            (&["--activate", "x"][..], "--activate \"x\" is not known"),
            (&["--activate", "video-device:video10"], "--activate \"video-device:video10\" is not known"),
            (&["--listen", "x"], "\"x\" is not an address to listen at"),
            (&["--max-clients", "0"], "--max-clients 0 accepts no client"),
            (&["--shm-path", "x"], "--output \"appsrc name=appsrc"),
            (&["--shm-size", "x"], "--shm-size was removed"),
            #[cfg(unix)]
            (&["--token-file", "/dev/null"], "\"/dev/null\" holds no secret"),
            (&["--token-file", "/nowhere"], "cannot read \"/nowhere\": "),
            (&["--metrics", "x"], "--metrics \"x\" is not an address like 127.0.0.1:9100"),
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
    fn the_default_address_is_loopback_unless_there_is_other_demand() {
        let settings = |arguments: &[&str], has_sockets| {
            from_arguments(&[&["--output", "o", "--input", "i"], arguments].concat())
                .settings(has_sockets)
                .unwrap()
                .listen
        };
        assert_eq!(settings(&[], false), ["tcp://127.0.0.1:5555".parse().unwrap()]);
        assert_eq!(settings(&[], true), []);
        assert_eq!(settings(&["--activate", "consumers"], false), []);
        #[cfg(unix)]
        assert_eq!(settings(&["--activate", "video-device:/dev/video10"], false), []);
        let one = toml::from_str::<Given>("activate = \"consumers\"").unwrap();
        assert_eq!(one.activate, ["consumers"]);
        assert_eq!(settings(&["--listen", "unix:///x"], false).len(), 1);
    }
}
