//! The supervisor: one thread receives all events, passes them to the machine, and executes its commands.

use crate::demand::BindError;
use crate::event::{Event, Events, Role};
use crate::feed::{Runner, check};
use crate::forward::{Forward, OutputError, stop_within};
use crate::log_limit::LogLimit;
use crate::machine::{Command, Machine, Phase, Timing};
use crate::manager;
use crate::settings::{Settings, SettingsError};
use crate::status::Status;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// Time for a pipeline to close its devices.
const STOP_TIME: Duration = Duration::from_secs(10);
/// Time for a clean end after a signal.
const DRAIN: Duration = Duration::from_millis(1300);
/// Further time for the output to stop.
const LAST: Duration = Duration::from_millis(500);
/// Pause before a splash that ended is restarted.
const SPLASH_PAUSE: Duration = Duration::from_secs(1);
/// The longest sleep.
const LONGEST: Duration = Duration::from_secs(3600);

/// Why the daemon ends other than by a signal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// An invalid setting.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// An address could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The output could not be built or started.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The input or the splash is not a pipeline.
    #[error("{0}")]
    Pipeline(String),
    /// `--activate consumers` without a region.
    #[error("--activate consumers: the output has no shm2sink whose consumers could be counted")]
    NoRegion,
    /// The output failed.
    #[error("the output failed: {0}")]
    OutputFailed(String),
    /// The output ended.
    #[error("the output reached its end of stream")]
    OutputEnded,
    /// A pipeline did not stop in time.
    #[error("the {0} does not stop")]
    Stuck(&'static str),
    /// A device does not report its readers.
    #[error("--activate video-device:{path}: {source}{}", remedy(source), path = path.display())]
    VideoDevice {
        /// The device.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The state cannot be offered.
    #[error(transparent)]
    Offer(#[from] crate::control::OfferError),
    /// A part of the daemon failed.
    #[error("{0}")]
    Broken(String),
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What failed.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// What to do about a video device that cannot be opened.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; `modprobe v4l2loopback video_nr=N exclusive_caps=1` makes /dev/videoN",
        io::ErrorKind::PermissionDenied => "; add this user to the device's group, which is video on most systems",
        _ => "",
    }
}

/// Checks settings as far as possible without running a pipeline.
///
/// # Errors
/// The first invalid setting.
pub fn check_settings(settings: &Settings) -> Result<(), RelayError> {
    let (events, _) = Events::new();
    check_feeds(settings, &Forward::new(&settings.output, events)?)
}

fn check_feeds(settings: &Settings, forward: &Forward) -> Result<(), RelayError> {
    check_texts(settings).map_err(RelayError::Pipeline)?;
    if settings.consumers && !forward.watch_consumers() {
        return Err(RelayError::NoRegion);
    }
    Ok(())
}

fn check_texts(settings: &Settings) -> Result<(), String> {
    check(Role::Input, &settings.input)?;
    settings.splash.as_deref().map_or(Ok(()), |text| check(Role::Splash, text))
}

/// A running daemon.
pub struct Relay {
    settings: Settings,
    forward: Arc<Forward>,
    input: Runner,
    splash: Runner,
    machine: Machine,
    inbox: mpsc::Receiver<Event>,
    begun: Instant,
    /// Number of the latest run of the input; `splash_run` that of the splash.
    run: u64,
    splash_run: u64,
    is_ordered: bool,
    /// When each unfinished stop began, of the input and of the splash.
    stops: [VecDeque<Duration>; 2],
    events: Events,
    splash_again: Option<Duration>,
    clients: usize,
    consumers: u32,
    /// Which of the devices of `--activate` are read.
    read_devices: BTreeSet<usize>,
    starts: u64,
    failures: u64,
    last_failure: Option<String>,
    last_reported: &'static str,
    /// Clients and consumers that come and go cause these lines.
    log: LogLimit,
}

impl Relay {
    /// Starts the output, without demand.
    ///
    /// # Errors
    /// When the output does not start, or a pipeline is invalid.
    pub fn new(settings: Settings, events: &Events, inbox: mpsc::Receiver<Event>) -> Result<Self, RelayError> {
        let system = |what| move |source| RelayError::System { what, source };
        let forward = Arc::new(Forward::new(&settings.output, events.clone())?);
        check_feeds(&settings, &forward)?;
        let begun = Instant::now();
        let runner = |role| Runner::new(role, forward.clone(), events.clone(), begun).map_err(system("start a thread"));
        let (input, splash) = (runner(Role::Input)?, runner(Role::Splash)?);
        forward.start()?;
        let seed = std::process::id().into();
        // The machine limits the start of the input.
        splash.set_start_timeout(settings.timing.start_timeout);
        let machine = Machine::new(settings.timing, settings.splash.is_some(), seed);
        Ok(Self {
            settings,
            forward,
            input,
            splash,
            machine,
            inbox,
            begun,
            run: 0,
            splash_run: 0,
            is_ordered: false,
            stops: Default::default(),
            events: events.clone(),
            splash_again: None,
            clients: 0,
            consumers: 0,
            read_devices: BTreeSet::new(),
            starts: 0,
            failures: 0,
            last_failure: None,
            last_reported: "",
            log: LogLimit::default(),
        })
    }

    /// Runs until a signal ends it. `reload` reads the settings again.
    ///
    /// # Errors
    /// When the daemon cannot continue: the service manager should restart it.
    pub fn work(mut self, reload: &Reload) -> Result<(), RelayError> {
        let outcome = self.supervise(reload);
        manager::stopping();
        self.drain();
        outcome
    }

    fn supervise(&mut self, reload: &Reload) -> Result<(), RelayError> {
        let watchdog = manager::watchdog();
        loop {
            self.step()?;
            if watchdog.is_some() {
                manager::alive();
            }
            match self.inbox.recv_timeout(self.sleep(watchdog)) {
                Ok(Event::Signal(SIGTERM | SIGINT)) => {
                    info!("ending after a signal");
                    return Ok(());
                }
                Ok(Event::Signal(_)) => self.read_settings(reload),
                Ok(event) => self.handle_event(event)?,
                Err(_) => {}
            }
        }
    }

    fn sleep(&self, watchdog: Option<Duration>) -> Duration {
        let stops = self.stops.iter().filter_map(VecDeque::front).map(|since| *since + STOP_TIME);
        let deadlines = self.machine.deadline(self.input.last()).into_iter().chain(self.splash_again).chain(stops);
        let now = self.begun.elapsed();
        let summary = self.log.deadline().map(|time| time.saturating_duration_since(self.begun));
        let next = deadlines.chain(summary).min().map_or(LONGEST, |deadline| deadline.saturating_sub(now));
        watchdog.map_or(next, |often| often.min(next))
    }

    /// Handles everything that is due by now.
    fn step(&mut self) -> Result<(), RelayError> {
        let now = self.begun.elapsed();
        for (stops, name) in self.stops.iter().zip(["input", "splash"]) {
            if stops.front().is_some_and(|since| now >= *since + STOP_TIME) {
                return Err(RelayError::Stuck(name));
            }
        }
        if self.machine.hangs(now, self.input.last()) {
            self.input_failed(format!("no buffer for {} ms", self.machine.longest_silence().as_millis()));
        }
        for command in self.machine.step(now, self.is_ordered) {
            self.execute(command);
        }
        if self.splash_again.is_some_and(|time| now >= time) {
            self.splash_again = None;
            self.start_splash();
        }
        let name = self.name();
        if name != self.last_reported {
            if self.log.permits("input on or off", Instant::now()) {
                info!("input {name}");
            }
            manager::status(&format!("input {name}, {} clients, {} consumers", self.clients, self.consumers));
            self.last_reported = name;
        }
        self.log.summary(Instant::now()).iter().for_each(|summary| info!("{summary}"));
        Ok(())
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::StartInput => {
                self.run += 1;
                self.starts += 1;
                self.is_ordered = true;
                self.input.start(self.run, &self.settings.input);
            }
            Command::StopInput => {
                self.is_ordered = false;
                self.stop(Role::Input);
            }
            Command::StartSplash => {
                if self.log.permits("splash on", Instant::now()) {
                    info!("splash on");
                }
                self.start_splash();
            }
            Command::StopSplash => {
                if self.log.permits("splash off", Instant::now()) {
                    info!("splash off");
                }
                self.splash_again = None;
                self.stop(Role::Splash);
            }
        }
    }

    fn stop(&mut self, role: Role) {
        self.stops[role as usize].push_back(self.begun.elapsed());
        match role {
            Role::Input => self.input.stop(),
            Role::Splash => self.splash.stop(),
        }
    }

    fn start_splash(&mut self) {
        if let Some(text) = &self.settings.splash {
            self.splash_run += 1;
            self.splash.start(self.splash_run, text);
        }
    }

    fn handle_event(&mut self, event: Event) -> Result<(), RelayError> {
        match event {
            Event::Clients(count) => {
                self.clients = count;
                self.demand_changed();
            }
            Event::ConsumersChanged => {
                self.consumers = self.forward.consumers();
                if self.log.permits("consumers of the output's region", Instant::now()) {
                    info!("{} consumers of the output's region", self.consumers);
                }
                self.demand_changed();
            }
            Event::VideoDevice(number, is_read) => {
                match is_read {
                    true => self.read_devices.insert(number),
                    false => self.read_devices.remove(&number),
                };
                self.demand_changed();
            }
            Event::Settings(settings) => self.reload(settings),
            Event::Delivers(run) if run == self.run => self.machine.input_delivers(),
            Event::Failed(Role::Input, run, why) if run == self.run && self.is_ordered => self.input_failed(why),
            Event::Failed(Role::Splash, run, why) if run == self.splash_run && !self.machine.delivers() => {
                warn!("the splash: {why}; it restarts in {} s", SPLASH_PAUSE.as_secs());
                self.stop(Role::Splash);
                self.splash_again = Some(self.begun.elapsed() + SPLASH_PAUSE);
            }
            Event::Delivers(_) | Event::Failed(..) | Event::Signal(_) => {}
            Event::Stopped(role) => drop(self.stops[role as usize].pop_front()),
            Event::OutputWarns(why) => {
                if self.log.permits("warnings of the output", Instant::now()) {
                    warn!("the output: {why}");
                }
            }
            Event::OutputFailed(why) => return Err(RelayError::OutputFailed(why)),
            Event::OutputEnded => return Err(RelayError::OutputEnded),
            Event::Broken(why) => return Err(RelayError::Broken(why)),
            Event::Status(answer) => drop(answer.send(self.status())),
        }
        Ok(())
    }

    fn demand_changed(&mut self) {
        let has_consumers = self.settings.consumers && self.consumers > 0;
        let is_wanted = self.clients > 0 || has_consumers || !self.read_devices.is_empty();
        self.machine.set_demand(is_wanted, self.begun.elapsed());
    }

    fn input_failed(&mut self, why: String) {
        let wait = self.machine.input_failed(self.begun.elapsed());
        warn!("the input: {why}; next try in {} ms", wait.as_millis());
        self.failures += 1;
        self.last_failure = Some(why);
    }

    /// Reads the file in its own thread, because reading may block.
    fn read_settings(&self, reload: &Reload) {
        let (reload, events) = (reload.clone(), self.events.clone());
        let read = move || events.send(Event::Settings(reload().map(|settings| settings.map(Box::new))));
        if let Err(error) = std::thread::Builder::new().name("reload".into()).spawn(read) {
            error!("the configuration cannot be read: {error}");
        }
    }

    fn reload(&mut self, settings: Result<Option<Box<Settings>>, SettingsError>) {
        let new = match settings {
            Ok(Some(new)) => *new,
            Ok(None) => return warn!("there is no configuration file to read again: start with --config"),
            Err(error) => return error!("the configuration is unchanged: {error}"),
        };
        if let Err(error) = check_texts(&new) {
            return error!("the configuration is unchanged: {error}");
        }
        log_warnings(&new);
        let fixed = |s: &Settings| {
            let (input, timing, warnings) = (String::new(), Timing::default(), Vec::new());
            Settings { input, splash: None, timing, warnings, ..s.clone() }
        };
        if fixed(&self.settings) != fixed(&new) {
            warn!("only input, splash and times can change while the daemon runs: restart it for the rest");
        }
        info!("the configuration was read again");
        let (has_new_input, has_new_splash) = (new.input != self.settings.input, new.splash != self.settings.splash);
        self.settings = Settings { input: new.input, splash: new.splash, timing: new.timing, ..self.settings.clone() };
        let now = self.begun.elapsed();
        self.machine.set_timing(new.timing, now);
        self.splash.set_start_timeout(new.timing.start_timeout);
        if has_new_input {
            self.machine.renew(now);
            // The next step restarts it; the splash is shown until then.
            if self.is_ordered {
                self.execute(Command::StopInput);
            }
        }
        if has_new_splash {
            self.execute(Command::StopSplash);
            self.machine.set_splash(self.settings.splash.is_some());
        }
    }

    fn name(&self) -> &'static str {
        match self.machine.phase() {
            Phase::Off => "off",
            Phase::Waiting(_) => "waiting",
            Phase::On(_) if !self.machine.delivers() => "starting",
            Phase::On(_) => "on",
            Phase::Cooling(_) => "cooling",
        }
    }

    fn status(&self) -> Status {
        let counts = self.forward.counts();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime: self.begun.elapsed().as_secs_f64(),
            clients: self.clients,
            consumers: self.consumers,
            video_devices: self.read_devices.len(),
            input: self.name(),
            input_delivers: self.machine.delivers(),
            input_starts: self.starts,
            input_failures: self.failures,
            last_failure: self.last_failure.clone(),
            splash: self.settings.splash.is_some() && !self.machine.delivers(),
            input_buffers: counts.input,
            splash_buffers: counts.splash,
            late_buffers: counts.late,
            switches: counts.switches,
            caps: self.forward.caps().map(|caps| caps.to_string()),
        }
    }

    /// Closes all devices and ends the output cleanly, within [`DRAIN`].
    fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN;
        self.stop(Role::Input);
        self.stop(Role::Splash);
        self.forward.finish();
        let mut has_ended = false;
        while !has_ended || self.stops.iter().any(|stops| !stops.is_empty()) {
            match self.inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Stopped(role)) => drop(self.stops[role as usize].pop_front()),
                Ok(Event::OutputEnded | Event::OutputFailed(_)) => has_ended = true,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        stop_within(&self.forward, LAST);
    }
}

/// Reads the settings again.
pub type Reload = Arc<dyn Fn() -> Result<Option<Settings>, SettingsError> + Send + Sync>;

/// Logs what the settings warn of.
pub(crate) fn log_warnings(settings: &Settings) {
    settings.warnings.iter().for_each(|warning| warn!("{warning}"));
}
