//! `shm2 serve`: a page with all regions, for a browser.
//!
//! The page is three files without a build step. It gets the figures over server-sent events, and pictures as a stream
//! of JPEGs. Both are made only while they are looked at, and a client that is slow leaves some out.

mod card;
mod live;
mod preview;

use super::{Failure, metrics, rates::Sampler, show, web};
use crate::folders;
use crate::output;
use crate::picture::can_show;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use live::Live;
use preview::Previews;
use shm2::Overview;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// Files of the program: they need no token.
const PUBLIC: &[&str] = &["/style.css", "/page.js", "/icon.svg"];

#[derive(clap::Args)]
pub struct Arguments {
    /// Folders whose regions are shown
    #[arg(default_value = "/dev/shm")]
    folders: Vec<PathBuf>,
    /// Address to serve at; a port alone is one of the loopback address, port 0 a free one
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = web::address, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Token that the URL has to contain; made and printed when the address is not loopback
    #[arg(long, value_parser = web::token)]
    token: Option<String>,
    /// Time between two figures, in seconds or as 500ms
    #[arg(long, value_parser = shm2_cli::seconds, default_value = "1")]
    interval: Duration,
}

#[derive(Clone)]
struct Served {
    folders: Arc<Vec<PathBuf>>,
    live: Arc<Live>,
    previews: Arc<Previews>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    folders::check(&arguments.folders)?;
    let server = web::Server::bind(arguments.listen)?;
    let address = server.address();
    let token = match &arguments.token {
        None if !address.ip().is_loopback() => Some(web::new_token()?),
        given => given.clone(),
    };
    let query = token.as_ref().map(|token| format!("?token={token}")).unwrap_or_default();
    output::print(&format!("http://{address}/{query}"))?;
    let served = Served {
        folders: Arc::new(arguments.folders.clone()),
        live: Arc::new(Live::new(Sampler::new(&arguments.folders))),
        previews: Arc::default(),
    };
    let sampling = served.live.clone().run(arguments.interval.max(Duration::from_millis(100)));
    server.run(routes(served), web::Guard::new(address).token(token, PUBLIC), sampling)
}

fn routes(served: Served) -> Router {
    let file =
        |kind: &'static str, text: &'static str| get(move || async move { ([(header::CONTENT_TYPE, kind)], text) });
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("page/index.html")))
        .route("/style.css", file("text/css; charset=utf-8", include_str!("page/style.css")))
        .route("/page.js", file("text/javascript; charset=utf-8", include_str!("page/page.js")))
        .route("/icon.svg", file("image/svg+xml", include_str!("page/icon.svg")))
        .route("/metrics", get(async |State(served): State<Served>| metrics::answer(served.folders.to_vec()).await))
        .route("/api/regions", get(regions))
        .route("/api/events", get(async |State(served): State<Served>| served.live.events()))
        .route("/preview", get(preview))
        .route("/picture", get(picture))
        .with_state(served)
}

/// The objects of `shm2 list --json`.
async fn regions(State(served): State<Served>) -> Response {
    let all = listed(&served).await;
    let objects: Vec<_> = all.iter().map(show::RegionJson::from).collect();
    match serde_json::to_string(&objects) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn listed(served: &Served) -> Vec<Overview> {
    let folders = served.folders.clone();
    let all = spawn_blocking(move || folders::regions(&folders));
    all.await.unwrap_or_default()
}

type Asked = Query<HashMap<String, String>>;

/// The pictures of a region. Only a name that is in the listing is opened.
async fn pictures(served: &Served, asked: &Asked) -> Result<preview::Viewer, (StatusCode, String)> {
    let missing = || (StatusCode::BAD_REQUEST, "name a region: ?region=shm:///dev/shm/camera\n".into());
    let name = asked.get("region").ok_or_else(missing)?;
    let unknown = || (StatusCode::NOT_FOUND, "no live region of the served folders has this name\n".into());
    let region = listed(served).await.into_iter().find(|region| region.uri() == *name).ok_or_else(unknown)?;
    if !can_show(show::media(&region).as_ref()) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "the region has neither raw video nor JPEG\n".into()));
    }
    let busy = || (StatusCode::SERVICE_UNAVAILABLE, format!("{} regions are previewed already\n", preview::MOST));
    served.previews.watch(name).ok_or_else(busy)
}

/// Pictures one after another, each replaces the last one.
async fn preview(State(served): State<Served>, asked: Asked) -> Response {
    match pictures(&served, &asked).await {
        Ok(viewer) => ([(header::CONTENT_TYPE, preview::CONTENT_TYPE)], viewer.stream()).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// The next picture.
async fn picture(State(served): State<Served>, asked: Asked) -> Response {
    match pictures(&served, &asked).await {
        Ok(viewer) => match viewer.first().await {
            Some(jpeg) => ([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response(),
            None => (StatusCode::SERVICE_UNAVAILABLE, "the region has no picture\n").into_response(),
        },
        Err(refusal) => refusal.into_response(),
    }
}
