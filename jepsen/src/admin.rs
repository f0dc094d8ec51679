//! Administration over REST, with the certainty of each failure: what certainly did not happen, and what may have.

mod stream;

pub use stream::{Frame, Stream};

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// A node's admin listener. Each call has a connection of its own, so that a cut is met at once and not hidden by a pool.
#[derive(Clone)]
pub struct Admin {
    address: SocketAddr,
    token: String,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    /// `Flotilla-Log-Index`.
    pub index: Option<u64>,
    /// From `ETag`.
    pub revision: Option<u64>,
}

/// No answer, or a failure of the server.
#[derive(Clone, Debug)]
pub struct NoAnswer {
    /// Proof that nothing happened and nothing will.
    pub definite: bool,
    pub text: String,
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A request; `if_match` and `request_id` are sent if given.
#[derive(Clone, Debug, Default)]
pub struct Ask<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub body: Option<&'a Value>,
    pub if_match: Option<u64>,
    pub request_id: Option<uuid::Uuid>,
}

impl Admin {
    pub fn new(address: SocketAddr, token: &str) -> Admin {
        Admin { address, token: token.to_owned() }
    }

    pub async fn get(&self, path: &str, limit: Duration) -> Result<Answer, NoAnswer> {
        self.call(Ask { method: "GET", path, ..Ask::default() }, limit).await
    }
    pub async fn post(&self, path: &str, body: &Value, limit: Duration) -> Result<Answer, NoAnswer> {
        self.call(Ask { method: "POST", path, body: Some(body), ..Ask::default() }, limit).await
    }

    /// Answers below 500 are answers; 500 and above are failures with the certainty that the server states.
    pub async fn call(&self, ask: Ask<'_>, limit: Duration) -> Result<Answer, NoAnswer> {
        let unsure = |text: String| NoAnswer { definite: false, text };
        let request = self.request(&ask).map_err(|error| NoAnswer { definite: true, text: error.to_string() })?;
        let client: Client<HttpConnector, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        let answer = async {
            let response = client.request(request).await.map_err(|error| NoAnswer {
                definite: error.is_connect(),
                text: format!("{} {}: {error}", ask.method, ask.path),
            })?;
            let number = |name: &str| {
                let text = response.headers().get(name)?.to_str().ok()?;
                text.trim_start_matches("W/").trim_matches('"').parse().ok()
            };
            let (index, revision) = (number("flotilla-log-index"), number("etag"));
            let status = response.status().as_u16();
            let bytes = response.into_body().collect().await.map_err(|error| unsure(error.to_string()))?.to_bytes();
            let body = serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
            if status >= 500 {
                let definite = body["definite"].as_bool().unwrap_or(false);
                return Err(NoAnswer { definite, text: format!("{status} {body}") });
            }
            Ok(Answer { status, body, index, revision })
        };
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(unsure(format!("{} {}: no answer within {limit:?}", ask.method, ask.path))),
        }
    }

    fn request(&self, ask: &Ask<'_>) -> Result<http::Request<Full<Bytes>>, http::Error> {
        let mut request = http::Request::builder()
            .method(ask.method)
            .uri(format!("http://{}{}", self.address, ask.path))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json");
        if let Some(revision) = ask.if_match {
            request = request.header("if-match", format!("\"{revision}\""));
        }
        if let Some(id) = ask.request_id {
            request = request.header("flotilla-request-id", id.to_string());
        }
        request.body(Full::new(ask.body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()))))
    }
}
