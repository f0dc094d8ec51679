//! A node's event stream: server-sent events over a connection of its own.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::{Admin, Ask};

/// A frame of a stream: the id to resume from, its kind, what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub id: String,
    pub kind: String,
    pub data: Value,
}

/// An open stream. Dropped, its connection is closed.
pub struct Stream {
    body: Incoming,
    unread: Vec<u8>,
}

/// A frame longer than this is none of ours.
const LONGEST: usize = 1 << 20;

impl Admin {
    /// Follows the history: behind event `since`, or behind the event of a token.
    pub async fn events(&self, since: u64, token: Option<&str>, limit: Duration) -> Result<Stream> {
        let path = format!("/api/v2/events?since={since}");
        let mut request = self.request(&Ask { method: "GET", path: &path, ..Ask::default() })?;
        request.headers_mut().insert("accept", "text/event-stream".parse()?);
        if let Some(token) = token {
            request.headers_mut().insert("last-event-id", token.parse()?);
        }
        let client: Client<_, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        let response = tokio::time::timeout(limit, client.request(request)).await.context("no answer in time")??;
        let status = response.status().as_u16();
        if status != 200 {
            let body = tokio::time::timeout(limit, response.into_body().collect()).await??.to_bytes();
            bail!("{status} {}", String::from_utf8_lossy(&body));
        }
        Ok(Stream { body: response.into_body(), unread: Vec::new() })
    }
}

impl Stream {
    /// The frames that come together, at least one; an error when the stream has ended. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Vec<Frame>> {
        loop {
            let frames = self.take_frames()?;
            if !frames.is_empty() {
                return Ok(frames);
            }
            ensure!(self.unread.len() < LONGEST, "a frame of more than {LONGEST} bytes");
            let frame = self.body.frame().await.context("the stream has ended")??;
            if let Ok(data) = frame.into_data() {
                self.unread.extend_from_slice(&data);
            }
        }
    }

    /// Cuts off the whole frames; comments, which keep the connection alive, are none.
    fn take_frames(&mut self) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        while let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
            let text: Vec<u8> = self.unread.drain(..end + 2).collect();
            frames.extend(frame(&String::from_utf8(text)?)?);
        }
        Ok(frames)
    }
}

fn frame(text: &str) -> Result<Option<Frame>> {
    let (mut id, mut kind, mut data) = (String::new(), String::new(), String::new());
    for line in text.lines() {
        match line.split_once(':').map(|(name, value)| (name, value.strip_prefix(' ').unwrap_or(value))) {
            Some(("id", value)) => id = value.to_owned(),
            Some(("event", value)) => kind = value.to_owned(),
            Some(("data", value)) => data += value,
            _ => {}
        }
    }
    if data.is_empty() {
        return Ok(None);
    }
    let data = serde_json::from_str(&data).with_context(|| format!("data of an event: {data}"))?;
    Ok(Some(Frame { id, kind, data }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_from_comments() {
        assert_eq!(frame(":\n\n").unwrap(), None);
        let one = frame("id: c.1.ab\nevent: user_created\ndata: {\"number\":1}\n\n").unwrap().unwrap();
        assert_eq!(
            one,
            Frame { id: "c.1.ab".into(), kind: "user_created".into(), data: serde_json::json!({"number": 1}) }
        );
        assert!(frame("data: {\n\n").is_err());
    }
}
