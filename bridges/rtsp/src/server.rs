//! The server: one loop for signals, limits and the state, and threads of GStreamer's RTSP server for its clients.

use crate::mounts::{ANYONE, Mounts};
use crate::request;
use crate::settings::{Settings, SettingsError};
use crate::status::Status;
use gst::glib;
use gst_rtsp::{RTSPAuthMethod, RTSPStatusCode};
use gst_rtsp_server::prelude::*;
use gst_rtsp_server::{
    RTSPAuth, RTSPClient, RTSPContext, RTSPFilterResult, RTSPMountPoints, RTSPServer, RTSPSession, RTSPSessionPool,
    RTSPToken, gio,
};
use shm2_relay::control::{ANSWER, OfferError, offer_state};
use shm2_relay::daemon::watch_signals;
use shm2_relay::manager;
use signal_hook::consts::SIGHUP;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// Interval of the search for clients that are gone.
const ROUND: Duration = Duration::from_secs(2);
/// Time for a connection to begin a session.
const IDLE: Duration = Duration::from_secs(60);
/// Sessions of a connection; one that begins more loses its oldest ones. Players have one.
const SESSIONS_EACH: usize = 4;
/// Largest body of a request. Those that this server answers have none, or a few parameters.
const LARGEST_BODY: u32 = 64 * 1024;

/// Why the server ends other than by a signal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be bound.
    #[error("cannot listen at rtsp://{address}: {source}; another program may use it: give another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The state cannot be offered.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What failed.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// Reads the settings again; `None` without a file.
pub type Reload = Arc<dyn Fn() -> Result<Option<Settings>, SettingsError> + Send + Sync>;

/// A running server.
struct Server {
    rtsp: RTSPServer,
    pool: RTSPSessionPool,
    mounts: Arc<Mounts>,
    settings: Mutex<Settings>,
    clients: Mutex<HashMap<RTSPClient, Client>>,
    refused: AtomicU64,
    begun: Instant,
}

/// What is known of a connection.
struct Client {
    since: Instant,
    /// It is one more than may be here, and about to be closed.
    is_excess: bool,
    /// Not held: the end of a session releases what it plays.
    sessions: Vec<glib::WeakRef<RTSPSession>>,
    mounts: BTreeSet<String>,
}

impl Client {
    fn has_session(&self) -> bool {
        self.sessions.iter().any(|session| session.upgrade().is_some())
    }
}

/// Runs the server until a signal ends it.
///
/// # Errors
/// Why it does not start.
pub fn run(settings: Settings, reload: Reload) -> Result<(), ServerError> {
    settings.warnings.iter().for_each(|warning| warn!("{warning}"));
    let context = glib::MainContext::default();
    let server = Server::new(settings);
    let (address, control, metrics) = {
        let settings = server.lock_settings();
        (settings.listen, settings.control.clone(), settings.metrics)
    };
    let end = glib::MainLoop::new(Some(&context), false);
    watch(&server, &context, &end, reload).map_err(|source| ServerError::System { what: "watch signals", source })?;
    let _offers = offer_state(control, metrics, ask(&server, &context), Status::metrics)?;
    server.listen(address, &context)?;
    server.rounds(&context);
    manager::ready("nobody plays");
    end.run();
    manager::stopping();
    info!("ending after a signal");
    server.disconnect(|_| true);
    Ok(())
}

/// Asks the loop for the state; `None` if it does not answer in time.
fn ask(server: &Arc<Server>, context: &glib::MainContext) -> impl Fn() -> Option<Status> + Clone + Send + 'static {
    let (server, context) = (server.clone(), context.clone());
    move || {
        let (sender, receiver) = mpsc::channel();
        let server = server.clone();
        // The receiver may have given up.
        context.invoke(move || drop(sender.send(server.status())));
        receiver.recv_timeout(ANSWER).ok()
    }
}

fn watch(server: &Arc<Server>, context: &glib::MainContext, end: &glib::MainLoop, reload: Reload) -> io::Result<()> {
    let (server, context, end) = (server.clone(), context.clone(), end.clone());
    watch_signals(move |signal| match signal {
        SIGHUP => {
            // Read in this thread, because reading may block.
            let (server, settings) = (server.clone(), reload());
            context.spawn(async move { server.reload(settings) });
        }
        // In the loop, because one that has not begun would begin all the same.
        _ => {
            let end = end.clone();
            context.spawn(async move { end.quit() });
        }
    })
}

impl Server {
    fn new(settings: Settings) -> Arc<Self> {
        let (rtsp, points, pool) = (RTSPServer::new(), RTSPMountPoints::new(), RTSPSessionPool::new());
        rtsp.set_mount_points(Some(&points));
        rtsp.set_session_pool(Some(&pool));
        limit(&rtsp, &pool, &settings);
        rtsp.set_auth(auth(&settings).as_ref());
        let server = Arc::new_cyclic(|weak: &std::sync::Weak<Self>| {
            let weak = weak.clone();
            let failed = Arc::new(move |path: &str| {
                let (weak, path) = (weak.clone(), path.to_owned());
                // Not here: this is a thread of the pipeline that ends with its clients.
                glib::MainContext::default().invoke(move || {
                    if let Some(server) = weak.upgrade() {
                        server.disconnect(|client| client.mounts.contains(&path));
                    }
                });
            });
            Self {
                mounts: Mounts::new(points, &settings, failed),
                rtsp,
                pool,
                settings: Mutex::new(settings),
                clients: Mutex::default(),
                refused: AtomicU64::new(0),
                begun: Instant::now(),
            }
        });
        server.accept();
        server
    }

    fn lock_clients(&self) -> MutexGuard<'_, HashMap<RTSPClient, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, address: SocketAddr, context: &glib::MainContext) -> Result<(), ServerError> {
        // GStreamer's server does not tell why it cannot.
        TcpListener::bind(address).map_err(|source| ServerError::Listen { address, source })?;
        self.rtsp.set_address(&address.ip().to_string());
        self.rtsp.set_service(&address.port().to_string());
        let failed = |error: glib::BoolError| ServerError::Listen { address, source: io::Error::other(error.message) };
        self.rtsp.attach(Some(context)).map_err(failed)?;
        let scheme = scheme(&self.lock_settings());
        let at = SocketAddr::new(address.ip(), self.rtsp.bound_port().try_into().unwrap_or(address.port()));
        info!("listening at {scheme}://{at}");
        Ok(())
    }

    fn accept(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        self.rtsp.connect_client_connected(move |_, client| {
            if let Some(server) = weak.upgrade() {
                server.connected(client);
            }
        });
    }

    fn connected(self: &Arc<Self>, client: &RTSPClient) {
        let is_excess = {
            let most = self.lock_settings().max_clients as usize;
            let mut clients = self.lock_clients();
            let is_excess = clients.values().filter(|client| !client.is_excess).count() >= most;
            let record = Client { since: Instant::now(), is_excess, sessions: Vec::new(), mounts: BTreeSet::new() };
            clients.insert(client.clone(), record);
            is_excess
        };
        let weak = Arc::downgrade(self);
        client.connect_closed(move |client| {
            if let Some(server) = weak.upgrade() {
                server.closed(client);
            }
        });
        self.follow(client);
        if is_excess {
            self.send_away(client);
        }
    }

    fn send_away(self: &Arc<Self>, client: &RTSPClient) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.mounts.log_excess();
        let (weak, those) = (Arc::downgrade(self), [client.clone()].into());
        // Not before the server has taken it, which this thread does next, but as soon as the next connection.
        glib::source::idle_add_full(glib::Priority::DEFAULT, move || {
            if let Some(server) = weak.upgrade() {
                server.disconnect_those(&those);
            }
            glib::ControlFlow::Break
        });
    }

    fn follow(self: &Arc<Self>, client: &RTSPClient) {
        let weak = Arc::downgrade(self);
        let check = move |client: &RTSPClient, context: &RTSPContext| {
            let server = weak.upgrade();
            server.map_or(RTSPStatusCode::ServiceUnavailable, |server| server.check(client, context))
        };
        client.connect_pre_describe_request(check.clone());
        client.connect_pre_setup_request(check);
        let weak = Arc::downgrade(self);
        client.connect_new_session(move |client, session| {
            let Some(server) = weak.upgrade() else { return };
            session.set_timeout(server.lock_settings().session_timeout);
            if let Some(record) = server.lock_clients().get_mut(client) {
                record.sessions.retain(|session| session.upgrade().is_some());
                record.sessions.push(session.downgrade());
                let excess = record.sessions.len().saturating_sub(SESSIONS_EACH);
                server.end_later(record.sessions.drain(..excess).filter_map(|session| session.upgrade()).collect());
            }
        });
        let weak = Arc::downgrade(self);
        client.connect_play_request(move |_, context| {
            if let (Some(server), Some(path)) = (weak.upgrade(), request::path(context)) {
                server.mounts.request_keyframe(&path);
            }
        });
    }

    /// Ends sessions, but not in the thread of a client that holds the lock of its pipeline.
    fn end_later(&self, sessions: Vec<RTSPSession>) {
        if !sessions.is_empty() {
            let pool = self.pool.clone();
            // One may have ended before.
            glib::MainContext::default().spawn(async move { sessions.iter().for_each(|it| drop(pool.remove(it))) });
        }
    }

    fn check(&self, client: &RTSPClient, context: &RTSPContext) -> RTSPStatusCode {
        if self.lock_clients().get(client).is_none_or(|client| client.is_excess) {
            return RTSPStatusCode::ServiceUnavailable;
        }
        let Some(path) = request::path(context) else { return RTSPStatusCode::BadRequest };
        let code = self.mounts.prepare(&path);
        if let (Some(mount), Some(record)) = (self.mounts.find(&path), self.lock_clients().get_mut(client)) {
            record.mounts.insert(mount);
        }
        code
    }

    /// Ends the sessions of a connection that is closed: its mounts are released at once.
    fn closed(&self, client: &RTSPClient) {
        let record = self.lock_clients().remove(client);
        let sessions = record.into_iter().flat_map(|record| record.sessions);
        for session in sessions.filter_map(|session| session.upgrade()) {
            // It may have ended before.
            let _ = self.pool.remove(&session);
        }
    }

    fn disconnect(&self, is_one: impl Fn(&Client) -> bool) {
        let clients = self.lock_clients();
        let those = clients.iter().filter(|(_, client)| is_one(client)).map(|(client, _)| client.clone()).collect();
        drop(clients);
        self.disconnect_those(&those);
    }

    fn disconnect_those(&self, those: &std::collections::HashSet<RTSPClient>) {
        let mut choose = |_: &RTSPServer, client: &RTSPClient| match those.contains(client) {
            true => RTSPFilterResult::Remove,
            false => RTSPFilterResult::Keep,
        };
        self.rtsp.client_filter(Some(&mut choose));
    }

    /// Repeats what has to be done now and then.
    fn rounds(self: &Arc<Self>, context: &glib::MainContext) {
        let server = self.clone();
        let mut reported = String::new();
        let round = move || {
            server.pool.cleanup();
            server.disconnect(|client| client.since.elapsed() > IDLE && !client.has_session());
            server.mounts.log_summary();
            let status = server.status();
            let plays = status.mounts.iter().filter(|mount| mount.plays).count();
            let text = format!("{} clients, {plays} of {} mounts play", status.clients, status.mounts.len());
            if text != reported {
                manager::status(&text);
                reported = text;
            }
            glib::ControlFlow::Continue
        };
        glib::timeout_source_new(ROUND, None, glib::Priority::DEFAULT, round).attach(Some(context));
        if let Some(interval) = manager::watchdog() {
            let alive = || {
                manager::alive();
                glib::ControlFlow::Continue
            };
            glib::timeout_source_new(interval, None, glib::Priority::DEFAULT, alive).attach(Some(context));
        }
    }

    fn reload(&self, settings: Result<Option<Settings>, SettingsError>) {
        let mut new = match settings {
            Ok(Some(new)) => new,
            Ok(None) => return warn!("there is no configuration file to read again: start with --config"),
            Err(error) => return error!("the configuration is unchanged: {error}"),
        };
        new.warnings.iter().for_each(|warning| warn!("{warning}"));
        if new.keep_fixed(&self.lock_settings()) {
            warn!("listen, control, metrics and max_clients cannot change while the daemon runs: restart it");
        }
        let access = |s: &Settings| (s.users.clone(), s.is_basic, s.tls.clone());
        let is_other_access = access(&self.lock_settings()) != access(&new);
        if is_other_access {
            self.rtsp.set_auth(auth(&new).as_ref());
        }
        let gone: BTreeSet<_> = self.mounts.reload(&new).into_iter().collect();
        let scheme = scheme(&new);
        *self.lock_settings() = new;
        info!("the configuration was read again");
        if is_other_access {
            info!("users or TLS have changed: all clients are disconnected, and begin again with {scheme}://");
        }
        // A connection keeps what it was accepted with.
        self.disconnect(|client| is_other_access || !client.mounts.is_disjoint(&gone));
    }

    fn status(&self) -> Status {
        let (mounts, not_found) = self.mounts.status();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime: self.begun.elapsed().as_secs_f64(),
            clients: self.lock_clients().len(),
            sessions: self.pool.n_sessions(),
            clients_refused: self.refused.load(Ordering::Relaxed),
            not_found,
            mounts,
        }
    }
}

fn scheme(settings: &Settings) -> &'static str {
    if settings.tls.is_some() { "rtsps" } else { "rtsp" }
}

/// What clients can take at most.
fn limit(rtsp: &RTSPServer, pool: &RTSPSessionPool, settings: &Settings) {
    pool.set_max_sessions(2 * settings.max_clients);
    // So that all clients can come at once, as after a restart.
    rtsp.set_backlog(settings.max_clients.try_into().unwrap_or(i32::MAX));
    rtsp.set_content_length_limit(LARGEST_BODY);
    if let Some(threads) = rtsp.thread_pool() {
        // One for each client, up to the limit of clients: one that waits for a picture delays no other.
        threads.set_max_threads(settings.max_clients.try_into().unwrap_or(i32::MAX));
    }
}

/// Users and TLS; `None` where there is neither.
fn auth(settings: &Settings) -> Option<RTSPAuth> {
    if settings.users.is_empty() && settings.tls.is_none() {
        return None;
    }
    let auth = RTSPAuth::new();
    auth.set_realm(Some("shm2"));
    let token = |role: &str| RTSPToken::builder().field("media.factory.role", role).build();
    if settings.users.is_empty() {
        auth.set_default_token(Some(&mut token(ANYONE)));
    }
    auth.set_supported_methods(if settings.is_basic { RTSPAuthMethod::Basic } else { RTSPAuthMethod::Digest });
    for user in &settings.users {
        match settings.is_basic {
            true => auth.add_basic(&RTSPAuth::make_basic(&user.name, &user.password), &token(&user.name)),
            false => auth.add_digest(&user.name, &user.password, &token(&user.name)),
        }
    }
    // The settings were checked.
    let certificate = settings.tls.as_deref().and_then(|pem| gio::TlsCertificate::from_pem(pem).ok());
    auth.set_tls_certificate(certificate.as_ref());
    Some(auth)
}
