//! The daemon around the supervisor: listeners, control, metrics, video devices, signals.

use crate::control::{ask, offer_state};
use crate::demand::{BindError, Demand, Listener, Rules, watch_video_device};
use crate::event::{Event, Events};
use crate::listen::Address;
use crate::manager;
use crate::relay::{Relay, RelayError, Reload, log_warnings};
use crate::settings::Settings;
use crate::status::Status;
use signal_hook::consts::SIGINT;
#[cfg(unix)]
use signal_hook::consts::SIGTERM;
use std::io;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// Runs the whole daemon: pipelines, listeners, control, metrics, signals.
///
/// # Errors
/// Why it does not start, or cannot continue.
pub fn run(settings: Settings, sockets: Vec<Listener>, reload: &Reload) -> Result<(), RelayError> {
    let system = |what| move |source| RelayError::System { what, source };
    log_warnings(&settings);
    let mut listeners = sockets;
    for address in &settings.listen {
        listeners.push(listen(address)?);
    }
    let rules =
        Rules { most: settings.max_clients, token: settings.token.clone(), allow_uid: settings.allow_uid.clone() };
    let (control, metrics) = (settings.control.clone(), settings.metrics);
    // Everything that may fail comes before the output, which creates files.
    let (events, inbox) = Events::new();
    let own = events.clone();
    watch_signals(move |signal| own.send(Event::Signal(signal))).map_err(system("watch signals"))?;
    let own = events.clone();
    let _offers = offer_state(control, metrics, move || ask(&own), Status::metrics)?;
    let consumers = settings.consumers;
    for (number, path) in settings.video_devices.iter().enumerate() {
        watch_video_device(path.clone(), number, events.clone())
            .map_err(|source| RelayError::VideoDevice { path: path.clone(), source })?;
        info!("readers of {} are demand", path.display());
    }
    let relay = Relay::new(settings, &events, inbox)?;
    info!("the output runs");
    if consumers {
        info!("consumers of the output's region are demand");
    }
    for listener in &listeners {
        info!("listening at {listener}");
    }
    let _demand = Demand::start(listeners, rules, events).map_err(system("serve clients"))?;
    manager::ready("input off");
    relay.work(reload)
}

fn listen(address: &Address) -> Result<Listener, BindError> {
    if address.is_wide() {
        warn!("{address} can be reached from other machines: every connection switches the input on");
    }
    Listener::bind(address)
}

/// Starts the log of a daemon at standard error: `RUST_LOG`, else "info".
pub fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // The reader of the log may close it: the daemon keeps running.
    let log = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false);
    match std::env::var_os("JOURNAL_STREAM") {
        // The journal adds the time.
        Some(_) => log.without_time().with_ansi(false).init(),
        None => log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
    }
}

/// Reports the signals that end a daemon or make it read its configuration again.
///
/// # Errors
/// When they cannot be watched.
#[cfg(unix)]
pub fn watch_signals(report: impl Fn(i32) + Send + 'static) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, signal_hook::consts::SIGHUP])?;
    let forward = move || signals.forever().for_each(report);
    std::thread::Builder::new().name("signals".into()).spawn(forward)?;
    Ok(())
}

/// Reports Ctrl+C, Ctrl+Break and the closing of the console.
///
/// # Errors
/// When they cannot be watched.
#[cfg(windows)]
pub fn watch_signals(report: impl Fn(i32) + Send + 'static) -> io::Result<()> {
    ctrlc::set_handler(move || report(SIGINT)).map_err(io::Error::other)
}
