//! A small REST client for administration.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// A node's admin listener.
#[derive(Clone)]
pub struct Rest {
    port: u16,
    token: Option<String>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Rest {
    pub fn new(port: u16, token: Option<String>) -> Rest {
        Rest { port, token, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    pub async fn get(&self, path: &str) -> Result<(u16, Value)> {
        self.call("GET", path, None).await
    }
    pub async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.call("POST", path, Some(body)).await
    }
    pub async fn put(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.call("PUT", path, Some(body)).await
    }
    pub async fn delete(&self, path: &str) -> Result<(u16, Value)> {
        self.call("DELETE", path, None).await
    }

    /// The answer's status and body; a body that is no JSON comes as a string.
    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let mut request = http::Request::builder().method(method).uri(format!("http://127.0.0.1:{}{path}", self.port));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = request.header("content-type", "application/json").body(Full::new(bytes))?;
        let answer = async {
            let response = self.client.request(request).await.with_context(|| format!("{method} {path}"))?;
            let status = response.status().as_u16();
            let bytes = response.into_body().collect().await?.to_bytes();
            let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
            anyhow::Ok((status, serde_json::from_slice(&bytes).unwrap_or_else(|_| text())))
        };
        tokio::time::timeout(Duration::from_secs(20), answer)
            .await
            .with_context(|| format!("{method} {path}: no answer"))?
    }

    /// The sum of a metric's samples whose labels contain `label`.
    pub async fn metric(&self, name: &str, label: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        let text = text.as_str().unwrap_or_default().to_owned();
        let samples = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        });
        Ok(samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}
