//! The server's settings, from its command line, its configuration file, or both: the command line overrides the file.

use crate::pattern::{Pattern, is_plain};
use crate::pipeline::{self, Makes};
use crate::users::{self, User, UsersError};
use gst_rtsp::RTSPLowerTrans;
use gst_rtsp_server::gio;
use shm2_relay::command::{self, FileError};
use shm2_relay::settings::Time;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Port of the server: 554 needs privileges.
const LISTEN: &str = "127.0.0.1:8554";
/// Encoder of raw video. Without the format x264enc would take 4:4:4, which hardly any client can decode.
const ENCODER: &str = "video/x-raw,format=I420 ! x264enc tune=zerolatency speed-preset=veryfast bitrate=4000 \
                       key-int-max=60 ! video/x-h264,profile=main";
/// Encoder of raw sound.
const AUDIO_ENCODER: &str = "audio/x-raw,rate=48000,channels=[1,2] ! opusenc";
/// Longest time for a frame to the encoder.
const LONGEST_LATENCY: Duration = Duration::from_secs(60);

/// Settings as given. In a file the names are the same, with `_` for `-`, and a mount is a table `[[mount]]`.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Address and port of the server [default: 127.0.0.1:8554]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// A mount, like /camera=/dev/shm/camera, or with sound /camera=/dev/shm/camera,/dev/shm/sound; may be repeated
    #[arg(long = "mount", value_name = "PATH=REGION,...")]
    #[serde(skip)]
    pub mount_texts: Vec<String>,
    /// The same from a file.
    #[arg(skip)]
    #[serde(default, rename = "mount")]
    pub mounts: Vec<MountGiven>,
    /// Each live region whose path matches is a mount of its file's name, like /dev/shm/cam-*
    #[arg(long, value_name = "PATTERN")]
    pub regions: Option<String>,
    /// Part of a pipeline that encodes raw video [default: x264enc without delay]
    #[arg(long, value_name = "PIPELINE")]
    pub encoder: Option<String>,
    /// Part of a pipeline that encodes raw audio [default: opusenc]
    #[arg(long, value_name = "PIPELINE")]
    pub audio_encoder: Option<String>,
    /// Time for a frame from its producer to the encoder, in milliseconds or as 20ms [default: 20]
    #[arg(long, value_name = "MS")]
    pub latency: Option<Time>,
    /// Further properties of shm2src, like "access=snapshot on-silence=repeat"
    #[arg(long, value_name = "PROPERTIES")]
    pub source: Option<String>,
    /// How streams are sent: tcp, udp, multicast; may be repeated [default: tcp and udp]
    #[arg(long, value_name = "PROTOCOL")]
    #[serde(default)]
    pub protocols: Vec<String>,
    /// Addresses and ports for multicast [default: 239.192.0.1-239.192.0.64:5000-5255]
    #[arg(long, value_name = "FROM-TO:PORTS")]
    pub multicast: Option<String>,
    /// File of the users who may watch: a line NAME:PASSWORD for each [default: all may]
    #[arg(long, value_name = "FILE")]
    pub users_file: Option<PathBuf>,
    /// How users give their passwords: digest, or basic, which sends them in the clear [default: digest]
    #[arg(long, value_name = "METHOD")]
    pub auth: Option<String>,
    /// File with a certificate and its key (PEM): clients then use rtsps://
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// Connections at a time [default: 64]
    #[arg(long, value_name = "COUNT")]
    pub max_clients: Option<u32>,
    /// Time after which a client that says nothing is taken to be gone, in seconds [default: 60]
    #[arg(long, value_name = "SECONDS")]
    pub session_timeout: Option<u32>,
    /// Socket that answers `--status` [default: control in $RUNTIME_DIRECTORY, if that is set]
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Address at which metrics can be fetched by HTTP, like 127.0.0.1:9101 [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<String>,
}

/// A mount as given in a file. What is not given is that of the whole server.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountGiven {
    path: String,
    regions: Vec<String>,
    encoder: Option<String>,
    audio_encoder: Option<String>,
    latency: Option<Time>,
    source: Option<String>,
    #[serde(default)]
    protocols: Vec<String>,
    #[serde(default)]
    users: Vec<String>,
}

/// An invalid setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing to serve.
    #[error(
        "there is no mount: give --mount /camera=/dev/shm/camera, [[mount]] in the file, or --regions \"/dev/shm/*\""
    )]
    NoMount,
    /// A mount is wrong.
    #[error("mount {path:?}: {why}")]
    Mount {
        /// Its path, as given.
        path: String,
        /// What is wrong, and the remedy.
        why: String,
    },
    /// Another setting is wrong.
    #[error("--{name} {value:?}: {why}")]
    Value {
        /// Its name.
        name: &'static str,
        /// As given.
        value: String,
        /// What is wrong, and the remedy.
        why: String,
    },
    /// A file of users that cannot be used.
    #[error(transparent)]
    Users(#[from] UsersError),
}

/// A part of a pipeline that encodes, and what sends its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoder {
    /// The part as given.
    pub text: String,
    /// Parser and payloader.
    pub payload: String,
}

/// A checked mount.
#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    /// Path in its address.
    pub path: String,
    /// Its regions, one stream each.
    pub regions: Vec<String>,
    /// Encoder of raw video.
    pub encoder: Encoder,
    /// Encoder of raw audio.
    pub audio_encoder: Encoder,
    /// Deadline of the sources.
    pub latency: Duration,
    /// Further properties of the sources.
    pub source: String,
    /// How streams are sent.
    pub protocols: RTSPLowerTrans,
    /// Names of the users that may watch.
    pub users: Vec<String>,
}

/// Addresses and ports for multicast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multicast {
    /// The first and the last address.
    pub addresses: (String, String),
    /// The first and the last port.
    pub ports: (u16, u16),
}

/// Checked settings.
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// Address of the server.
    pub listen: SocketAddr,
    /// The mounts.
    pub mounts: Vec<Mount>,
    /// Regions that are mounts when they are asked for, with the settings of this mount.
    pub regions: Option<(Pattern, Mount)>,
    /// Addresses for multicast.
    pub multicast: Multicast,
    /// Users that may watch; all may if empty.
    pub users: Vec<User>,
    /// Whether passwords come in the clear.
    pub is_basic: bool,
    /// The certificate and its key, PEM.
    pub tls: Option<String>,
    /// Connections at a time.
    pub max_clients: u32,
    /// Seconds after which a silent client is gone.
    pub session_timeout: u32,
    /// Path of the socket that answers `--status`.
    pub control: Option<PathBuf>,
    /// Address of the metrics.
    pub metrics: Option<SocketAddr>,
    /// What is wrong although it is used, for the log.
    pub warnings: Vec<String>,
}

fn wrong(name: &'static str, value: &str, why: impl Into<String>) -> SettingsError {
    SettingsError::Value { name, value: value.into(), why: why.into() }
}

impl Given {
    /// Fills settings that are not given from `other`. Mounts of the command line replace those of the file.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let has_mounts = !self.mount_texts.is_empty();
        Self {
            listen: self.listen.or(other.listen),
            mount_texts: self.mount_texts,
            mounts: if has_mounts { Vec::new() } else { other.mounts },
            regions: self.regions.or(other.regions),
            encoder: self.encoder.or(other.encoder),
            audio_encoder: self.audio_encoder.or(other.audio_encoder),
            latency: self.latency.or(other.latency),
            source: self.source.or(other.source),
            protocols: if self.protocols.is_empty() { other.protocols } else { self.protocols },
            multicast: self.multicast.or(other.multicast),
            users_file: self.users_file.or(other.users_file),
            auth: self.auth.or(other.auth),
            tls_certificate: self.tls_certificate.or(other.tls_certificate),
            max_clients: self.max_clients.or(other.max_clients),
            session_timeout: self.session_timeout.or(other.session_timeout),
            control: self.control.or(other.control),
            metrics: self.metrics.or(other.metrics),
        }
    }

    /// Path of the socket that answers `--status`.
    pub fn control_path(&self) -> Option<PathBuf> {
        command::control_path(self.control.as_deref())
    }

    /// Checks all settings. GStreamer must be initialized.
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let address = |name, text: &str| {
            text.parse::<SocketAddr>()
                .map_err(|_| wrong(name, text, "write an address and a port, like 127.0.0.1:8554"))
        };
        let (users, warning) = self.users_file.as_deref().map(users::read).transpose()?.unwrap_or_default();
        let mut settings = Settings {
            listen: address("listen", self.listen.as_deref().unwrap_or(LISTEN))?,
            mounts: self.mounts(&users)?,
            regions: self.regions.as_deref().map(|text| self.pattern(text, &users)).transpose()?,
            multicast: multicast(self.multicast.as_deref().unwrap_or("239.192.0.1-239.192.0.64:5000-5255"))?,
            users,
            is_basic: self.is_basic()?,
            tls: self.tls_certificate.as_deref().map(certificate).transpose()?,
            max_clients: in_range("max-clients", self.max_clients.unwrap_or(64), 10_000)?,
            session_timeout: in_range("session-timeout", self.session_timeout.unwrap_or(60), 86_400)?,
            control: self.control_path(),
            metrics: self.metrics.as_deref().map(|text| address("metrics", text)).transpose()?,
            warnings: warning.into_iter().collect(),
        };
        if settings.mounts.is_empty() && settings.regions.is_none() {
            return Err(SettingsError::NoMount);
        }
        settings.warn();
        Ok(settings)
    }

    fn is_basic(&self) -> Result<bool, SettingsError> {
        match self.auth.as_deref() {
            None | Some("digest") => Ok(false),
            Some("basic") => Ok(true),
            Some(other) => Err(wrong("auth", other, "write digest or basic")),
        }
    }

    fn mounts(&self, users: &[User]) -> Result<Vec<Mount>, SettingsError> {
        let from_texts = self.mount_texts.iter().map(|text| MountGiven::from_text(text));
        let given = from_texts.chain(self.mounts.iter().cloned().map(Ok)).collect::<Result<Vec<_>, _>>()?;
        let mounts = given.iter().map(|mount| self.mount(mount, users)).collect::<Result<Vec<_>, _>>()?;
        let mut seen = BTreeSet::new();
        match mounts.iter().find(|mount| !seen.insert(&mount.path)) {
            Some(Mount { path, .. }) => {
                Err(SettingsError::Mount { path: path.clone(), why: "there are two of them: rename one".into() })
            }
            None => Ok(mounts),
        }
    }

    fn pattern(&self, text: &str, users: &[User]) -> Result<(Pattern, Mount), SettingsError> {
        let pattern =
            Pattern::new(text).ok_or_else(|| wrong("regions", text, "write a path like \"/dev/shm/cam-*\""))?;
        let any = MountGiven { path: "/any".into(), regions: vec![text.into()], ..MountGiven::default() };
        let mount = self.mount(&any, users).map_err(|error| match error {
            SettingsError::Mount { why, .. } => wrong("regions", text, why),
            other => other,
        })?;
        Ok((pattern, mount))
    }

    fn mount(&self, given: &MountGiven, users: &[User]) -> Result<Mount, SettingsError> {
        let wrong = |why: String| SettingsError::Mount { path: given.path.clone(), why };
        given.check(users).map_err(wrong)?;
        let encoder = |own: &Option<String>, all: &Option<String>, default: &str, makes| {
            pipeline::encoder(own.as_deref().or(all.as_deref()).unwrap_or(default), makes).map_err(wrong)
        };
        let source = given.source.clone().or_else(|| self.source.clone()).unwrap_or_default();
        if !pipeline::is_source(&source) {
            return Err(wrong(format!(
                "source {source:?} are no further properties of shm2src: see gst-inspect-1.0 shm2src"
            )));
        }
        let latency = given.latency.or(self.latency).map_or(Duration::from_millis(20), |Time(time)| time);
        if latency > LONGEST_LATENCY {
            return Err(wrong(format!("latency {latency:?} is too long: give {LONGEST_LATENCY:?} or less")));
        }
        let protocols = if given.protocols.is_empty() { &self.protocols } else { &given.protocols };
        Ok(Mount {
            path: given.path.clone(),
            regions: given.regions.clone(),
            encoder: encoder(&given.encoder, &self.encoder, ENCODER, Makes::Video)?,
            audio_encoder: encoder(&given.audio_encoder, &self.audio_encoder, AUDIO_ENCODER, Makes::Audio)?,
            latency,
            source,
            protocols: transports(protocols).map_err(wrong)?,
            users: match given.users.is_empty() {
                true => users.iter().map(|user| user.name.clone()).collect(),
                false => given.users.clone(),
            },
        })
    }
}

impl MountGiven {
    fn from_text(text: &str) -> Result<Self, SettingsError> {
        let (path, regions) = text.split_once('=').ok_or_else(|| SettingsError::Mount {
            path: text.into(),
            why: "there is no region: write /camera=/dev/shm/camera".into(),
        })?;
        Ok(Self { path: path.into(), regions: regions.split(',').map(str::to_owned).collect(), ..Self::default() })
    }

    fn check(&self, users: &[User]) -> Result<(), String> {
        let is_plain = |byte: u8| byte == b'/' || is_plain(byte);
        // Clients take out what is empty, "." and "..".
        let is_part = |part: &str| !["", ".", ".."].contains(&part);
        let is_path = self.path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_part));
        if !is_path || !self.path.bytes().all(is_plain) {
            return Err("a path begins with a slash and has names of letters, digits and - _ . ~, like /camera".into());
        }
        if self.regions.is_empty() {
            return Err("there is no region: write regions = [\"/dev/shm/camera\"]".into());
        }
        let mut seen = BTreeSet::new();
        for region in &self.regions {
            shm2::Consumer::builder(region).map_err(|error| error.to_string())?;
            if !seen.insert(region) {
                return Err(format!("region {region} is there twice"));
            }
        }
        match self.users.iter().find(|name| users.iter().all(|user| user.name != **name)) {
            Some(name) => Err(format!("user {name:?} is not in users_file: add a line {name}:PASSWORD")),
            None => Ok(()),
        }
    }
}

impl Settings {
    /// Takes from `old` what cannot change while the server runs; whether anything of it differed.
    pub fn keep_fixed(&mut self, old: &Self) -> bool {
        let fixed = |s: &Self| (s.listen, s.control.clone(), s.metrics, s.max_clients);
        let is_other = fixed(self) != fixed(old);
        (self.listen, self.control, self.metrics, self.max_clients) = fixed(old);
        is_other
    }

    fn warn(&mut self) {
        if !self.listen.ip().is_loopback() && self.users.is_empty() {
            let text = "can be reached from other machines, and everyone there may watch: set users_file";
            self.warnings.push(format!("rtsp://{} {text}", self.listen));
        }
        if !self.listen.ip().is_loopback() && self.is_basic && self.tls.is_none() && !self.users.is_empty() {
            self.warnings
                .push("auth = \"basic\" sends passwords in the clear: set tls_certificate, or use digest".into());
        }
    }
}

fn in_range(name: &'static str, value: u32, most: u32) -> Result<u32, SettingsError> {
    let is_one = (1..=most).contains(&value);
    if is_one { Ok(value) } else { Err(wrong(name, &value.to_string(), format!("give 1 to {most}"))) }
}

fn transports(names: &[String]) -> Result<RTSPLowerTrans, String> {
    if names.is_empty() {
        return Ok(RTSPLowerTrans::TCP | RTSPLowerTrans::UDP);
    }
    names.iter().try_fold(RTSPLowerTrans::empty(), |all, name| match name.as_str() {
        "tcp" => Ok(all | RTSPLowerTrans::TCP),
        "udp" => Ok(all | RTSPLowerTrans::UDP),
        "multicast" => Ok(all | RTSPLowerTrans::UDP_MCAST),
        other => Err(format!("protocol {other:?} is not known: write tcp, udp or multicast")),
    })
}

fn multicast(text: &str) -> Result<Multicast, SettingsError> {
    let read = || {
        let (addresses, ports) = text.rsplit_once(':')?;
        let ((first, last), (low, high)) = (addresses.split_once('-')?, ports.split_once('-')?);
        let group = |text: &str| text.parse::<std::net::Ipv4Addr>().ok().filter(|address| address.is_multicast());
        let ports: (u16, u16) = (low.parse().ok()?, high.parse().ok()?);
        let is_range = group(first)? <= group(last)? && ports.0 > 0 && ports.0 < ports.1;
        is_range.then(|| Multicast { addresses: (first.into(), last.into()), ports })
    };
    read().ok_or_else(|| wrong("multicast", text, "write it like 239.192.0.1-239.192.0.64:5000-5255"))
}

fn certificate(path: &Path) -> Result<String, SettingsError> {
    let text = path.to_string_lossy();
    if !gio::prelude::TlsBackendExt::supports_tls(&gio::TlsBackend::default()) {
        return Err(wrong("tls-certificate", &text, "there is no TLS here: install glib-networking"));
    }
    let pem = shm2_relay::secret::read_all(path).map_err(UsersError::File)?.text;
    gio::TlsCertificate::from_pem(&pem).map_err(|error| wrong("tls-certificate", &text, error.message()))?;
    Ok(pem)
}
