//! Which requests are answered.
//!
//! A page of another origin that the browser shows may send requests to loopback addresses, and may give its own name
//! the address of this server (DNS rebinding). The headers `Host`, `Origin` and `Sec-Fetch-Site` show such requests.
//! A server that other machines reach demands a token as well.

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Router, http};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Sent with each answer.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Rules for requests.
pub struct Guard {
    bound: IpAddr,
    any_host: bool,
    token: Option<String>,
    /// Paths that need no token: files of the program.
    public: &'static [&'static str],
}

/// Why a request is refused.
type Refusal = (StatusCode, &'static str);

impl Guard {
    /// Answers requests whose `Host` is a loopback name or the bound address.
    pub fn new(bound: SocketAddr) -> Self {
        Self { bound: bound.ip(), any_host: false, token: None, public: &[] }
    }

    /// Answers requests of every host that is no web page, for machines that know this one by any name.
    pub fn any_host(mut self, any_host: bool) -> Self {
        self.any_host = any_host;
        self
    }

    /// Demands `token` in the query (`token=`) or in the header (`Authorization: Bearer`), except for `public` paths.
    pub fn token(mut self, token: Option<String>, public: &'static [&'static str]) -> Self {
        (self.token, self.public) = (token, public);
        self
    }

    /// Routes with these rules.
    pub fn protect(self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(Arc::new(self), answer))
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if method != Method::GET && method != Method::HEAD {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n"));
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.ok_or((StatusCode::FORBIDDEN, "the request has no Host\n"))?;
        if !self.any_host && !self.is_own(host) {
            return Err((StatusCode::FORBIDDEN, "the Host is neither a loopback name nor the bound address\n"));
        }
        // A page at another address. The server's own page sends its Host as Origin.
        let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
        if origin.is_some_and(|origin| origin != format!("http://{host}").as_bytes()) {
            return Err((StatusCode::FORBIDDEN, "the Origin is not this server\n"));
        }
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if uri.path() != "/" && matches!(site, Some(b"cross-site" | b"same-site")) {
            return Err((StatusCode::FORBIDDEN, "the request is of another site's page\n"));
        }
        let is_permitted = self.public.contains(&uri.path()) || self.has_token(uri, headers);
        if is_permitted { Ok(()) } else { Err((StatusCode::UNAUTHORIZED, "append ?token= and the token to the URL\n")) }
    }

    fn is_own(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
        let name = authority.host();
        let ip = name.trim_start_matches('[').trim_end_matches(']').parse().map(|ip: IpAddr| ip.to_canonical());
        match ip {
            // A page's name is no address, so an address that reached this machine is its own.
            Ok(ip) => ip.is_loopback() || ip == self.bound.to_canonical() || self.bound.is_unspecified(),
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }

    fn has_token(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let pairs = uri.query().into_iter().flat_map(|query| query.split('&'));
        let mut given = pairs.filter_map(|pair| pair.strip_prefix("token=")).map(str::as_bytes).chain(bearer);
        given.any(|given| given.ct_eq(token.as_bytes()).into())
    }
}

async fn answer(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match guard.check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    headers.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if guard.token.is_some() && response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// A token that cannot be guessed: 128 random bits.
pub fn new_token() -> Result<String, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("cannot make a token: {error}; choose one with --token"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(guard: &Guard, method: Method, path: &str, headers: &[(&'static str, &str)]) -> u16 {
        let pair = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        let headers = headers.iter().map(pair).collect();
        guard.check(&method, &path.parse().unwrap(), &headers).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn only_requests_to_a_loopback_name_or_the_bound_address_are_answered() {
        let at = |bound: &str, host| status(&Guard::new(bound.parse().unwrap()), Method::GET, "/", &[("host", host)]);
        for host in ["localhost:80", "LOCALHOST", "127.0.0.1:80", "127.9.9.9", "[::1]:80", "[::ffff:127.0.0.1]"] {
            assert_eq!(at("127.0.0.1:80", host), 200, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:80", "192.0.2.1", "", "127.0.0.1@evil.example", "a b"] {
            assert_eq!(at("127.0.0.1:80", host), 403, "{host}");
        }
        assert_eq!((at("192.0.2.1:80", "192.0.2.1:80"), at("192.0.2.1:80", "192.0.2.2")), (200, 403));
        assert_eq!((at("0.0.0.0:80", "192.0.2.2"), at("0.0.0.0:80", "evil.example")), (200, 403));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let guard = Guard::new("127.0.0.1:80".parse().unwrap());
        let of = |path, name, value| status(&guard, Method::GET, path, &[("host", "localhost:80"), (name, value)]);
        assert_eq!(of("/", "origin", "http://localhost:80"), 200);
        for origin in ["http://localhost:81", "https://localhost:80", "http://evil.example", "null", ""] {
            assert_eq!(of("/", "origin", origin), 403, "{origin}");
        }
        assert_eq!(of("/api/regions", "sec-fetch-site", "same-origin"), 200);
        assert_eq!(of("/api/regions", "sec-fetch-site", "cross-site"), 403);
        // A link to the page.
        assert_eq!(of("/", "sec-fetch-site", "cross-site"), 200);
    }

    #[test]
    fn a_token_is_compared_as_a_whole_and_files_of_the_program_need_none() {
        let guard = Guard::new("192.0.2.1:80".parse().unwrap()).token(Some("secret".into()), &["/style.css"]);
        let host = ("host", "192.0.2.1:80");
        let of = |path| status(&guard, Method::GET, path, &[host]);
        assert_eq!((of("/?token=secret"), of("/?a=b&token=secret"), of("/style.css")), (200, 200, 200));
        for path in ["/", "/?token=", "/?token=secre", "/?token=secret1", "/?xtoken=secret", "/style.css/", "/x"] {
            assert_eq!(of(path), 401, "{path}");
        }
        let bearer = |value| status(&guard, Method::GET, "/", &[host, ("authorization", value)]);
        assert_eq!((bearer("Bearer secret"), bearer("Bearer x"), bearer("secret")), (200, 401, 401));
        assert_ne!(new_token().unwrap(), new_token().unwrap());
        assert_eq!(status(&guard, Method::POST, "/?token=secret", &[host]), 405);
    }
}
