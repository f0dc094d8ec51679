//! `flotilla events`: the history, and what comes.

use std::io::Write;

use clap::Args;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};

use super::connect::Client;
use super::failure::Failure;
use super::output::{Data, Format, Output};

#[derive(Args, Clone, Debug)]
pub struct EventsArgs {
    /// Events with a greater number; without it the last 100, with --follow only those that come.
    #[arg(long)]
    since: Option<u64>,
    /// Behind the event of this resume token, on any node.
    #[arg(long, conflicts_with = "since")]
    resume: Option<String>,
    /// Goes on with those that come, one line each (JSON with -o json), until it is interrupted.
    #[arg(long, short)]
    follow: bool,
}

const COLUMNS: &[&str] = &["number", "time", "kind", "object", "actor", "source", "changes"];
const LAST: u64 = 100;

pub(super) async fn run(client: &Client, arguments: EventsArgs, format: Format) -> Result<Output, Failure> {
    if arguments.follow {
        return follow(client, arguments, format).await;
    }
    let mut rows = Vec::new();
    let mut token = arguments.resume.unwrap_or_default();
    let mut since = match arguments.since {
        Some(since) => since,
        None if token.is_empty() => {
            let asked = v1::ListEventsRequest { page_size: 1, ..Default::default() };
            let page = client.events().list_events(asked).await?.into_inner();
            page.compacted_through.max(page.last.saturating_sub(LAST))
        }
        None => 0,
    };
    loop {
        let asked = v1::ListEventsRequest { since, resume_token: token, page_size: 1000 };
        let page = client.events().list_events(asked).await?.into_inner();
        let done = page.events.len() < 1000;
        rows.extend(page.events.iter().map(shown));
        if done {
            return Ok(Output::many(COLUMNS, rows));
        }
        (since, token) = (0, page.resume_token);
    }
}

/// A reader that went away (`| head`) ends it.
async fn follow(client: &Client, arguments: EventsArgs, format: Format) -> Result<Output, Failure> {
    let resume_token = arguments.resume.unwrap_or_default();
    let request = v1::WatchEventsRequest { since: arguments.since, resume_token };
    let mut events = client.events().watch_events(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        let line = match format {
            Format::Table => line(&event),
            Format::Json | Format::Yaml => shown(&event).to_string(),
        };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    Ok(Output { data: Data::None, notes: Vec::new() })
}

fn line(event: &v1::Event) -> String {
    let row = shown(event);
    let texts = ["time", "kind", "object", "actor", "changes"].map(|name| super::output::cell(&row[name]));
    format!("{:>8}  {}", event.number, texts.join("  "))
}

fn shown(event: &v1::Event) -> Value {
    let change = |change: &v1::FieldChange| {
        format!("{}: {} -> {}", change.field, or_none(&change.before), or_none(&change.after))
    };
    let changes: Vec<String> = event.changes.iter().map(change).collect();
    json!({
        "number": event.number,
        "time": time(event.timestamp),
        "timestamp": event.timestamp,
        "kind": event.kind,
        "object": format!("{} {}", event.object_type, event.object_name),
        "object_type": event.object_type,
        "object_name": event.object_name,
        "actor": event.actor,
        "source": event.source,
        "changes": changes,
        "details": event.details,
        "log_index": event.log_index,
        "resume_token": event.resume_token,
    })
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}

fn time(ms: u64) -> String {
    flotilla_proto::Timestamp { seconds: (ms / 1_000) as i64, nanos: 0 }.to_string()
}
