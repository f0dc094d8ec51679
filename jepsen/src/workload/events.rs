//! W6 and W7: the event stream, read through all nodes, resumed from token to token, while records change; changes whose answer
//! was lost are asked again under their id, and some that were answered are asked again as well.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::World;
use crate::admin::{self, Answer, Frame, NoAnswer};

const WRITERS: u64 = 2;
const FOLLOWERS: u64 = 3;
/// Short, so that lost answers are frequent under faults.
const ADMIN: Duration = Duration::from_secs(1);
const OPEN: Duration = Duration::from_secs(3);
/// Repetitions of a change under its request id.
const AGAIN: usize = 40;
/// The last change is made, and every follower has seen it, this long after the stop; the recovery is part of it.
const END_WITHIN: Duration = Duration::from_secs(58);
/// The folder whose making is the last event that all must see.
const END: &str = "w6-end";

pub async fn run(world: Arc<World>) {
    let mut tasks: Vec<_> = (0..FOLLOWERS)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { follow(&world, number).await })
        })
        .collect();
    let writers = (0..WRITERS).map(|number| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { write(&world, 6_000 + number).await })
    });
    let writers: Vec<_> = writers.collect();
    tasks.push(tokio::spawn(async move {
        futures::future::join_all(writers).await;
        let _ = tokio::time::timeout(END_WITHIN, last_change(&world)).await;
    }));
    futures::future::join_all(tasks).await;
}

/// Each node tells all of the history that is kept, page by page.
pub async fn settle(world: &World) -> Result<()> {
    for node in world.fleet.places() {
        let name = format!("pages of node {node}");
        let mut after = 0;
        loop {
            let path = format!("/api/v2/events?since={after}&limit=1000");
            let page = world.fleet.admin(node).get(&path, Duration::from_secs(10)).await;
            let page = page.map_err(|error| anyhow::anyhow!("{path} through node {node}: {error}"))?;
            ensure!(page.status == 200, "{path} through node {node}: {} {}", page.status, page.body);
            if after == 0 {
                let through = page.body["compacted_through"].as_u64().context("compacted_through")?;
                world.recorder.observe("W6.subscribe", json!({"name": name, "after": 0, "compacted_to": through + 1}));
            }
            let Some(last) = page.body["events"].as_array().and_then(|events| events.last()) else { break };
            after = last["number"].as_u64().unwrap_or(u64::MAX);
            let events: Vec<Value> = page.body["events"].as_array().into_iter().flatten().map(seen).collect();
            world.recorder.observe("W6.events", json!({"name": name, "events": events}));
        }
    }
    Ok(())
}

/// Number, hash and what it says, as histories keep it.
fn seen(event: &Value) -> Value {
    let name = event["object_name"].as_str().unwrap_or_default();
    let kind = event["kind"].as_str().unwrap_or_default();
    let changes = event["changes"].as_array().into_iter().flatten();
    let described =
        changes.filter(|change| change["field"] == "description").find_map(|change| change["after"].as_str());
    let id = match described {
        Some(value) if kind == "folder_updated" => format!("{kind}:{name}={}", value.trim_matches('"')),
        _ => format!("{kind}:{name}"),
    };
    json!([event["number"], event["hash"], id])
}

/// One reader of the whole history: it stays at a node for a while, then goes on at another from where it stood.
async fn follow(world: &World, number: u64) {
    let mut random = world.random(6_500 + number);
    let name = format!("follower {number}");
    world.recorder.observe("W6.subscribe", json!({"name": name, "after": 0}));
    let (mut after, mut token): (u64, Option<String>) = (0, None);
    let mut stopped: Option<tokio::time::Instant> = None;
    loop {
        if world.stopping() {
            let since = *stopped.get_or_insert_with(tokio::time::Instant::now);
            if since.elapsed() > END_WITHIN {
                return;
            }
        }
        let node = world.any_node(&mut random);
        let stays = Duration::from_millis(random.random_range(500..5_000));
        // By number or by token.
        let by = token.as_deref().filter(|_| random.random_ratio(2, 3));
        let Ok(mut stream) = world.fleet.admin(node).events(after, by, OPEN).await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let leaves = tokio::time::Instant::now() + stays;
        while let Ok(Ok(frames)) = tokio::time::timeout_at(leaves, stream.next()).await {
            let events: Vec<&Frame> = frames.iter().filter(|frame| frame.kind != "error").collect();
            if let Some(last) = events.last() {
                after = last.data["number"].as_u64().unwrap_or(after);
                token = Some(last.id.clone());
                let told: Vec<Value> = events.iter().map(|frame| seen(&frame.data)).collect();
                world.recorder.observe("W6.events", json!({"name": name, "node": node, "events": told}));
            }
            if events.iter().any(|frame| frame.kind == "folder_created" && frame.data["object_name"] == END) {
                return;
            }
            if let Some(error) = frames.iter().find(|frame| frame.kind == "error") {
                world.recorder.observe("W6.error", json!({"name": name, "node": node, "error": error.data}));
            }
        }
    }
}

/// The change that ends the history; tried until it is answered.
async fn last_change(world: &World) {
    let mut writer = Writer::new(world, 6_400);
    while !writer.change(1, Change::Create(END.to_owned()), AGAIN).await {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

enum Change {
    Create(String),
    Update(String, u64),
    Delete(String),
}

impl Change {
    /// As the event says it.
    fn id(&self) -> String {
        match self {
            Change::Create(name) => format!("folder_created:{name}"),
            Change::Update(name, value) => format!("folder_updated:{name}={value}"),
            Change::Delete(name) => format!("folder_deleted:{name}"),
        }
    }
}

struct Writer<'a> {
    world: &'a World,
    random: StdRng,
    process: u64,
    next: u64,
}

/// Folders of its own: made, changed, removed.
async fn write(world: &World, number: u64) {
    let mut writer = Writer::new(world, number);
    let mut own: Vec<String> = Vec::new();
    while !world.stopping() {
        writer.next += 1;
        let next = writer.next;
        let which = if own.is_empty() { 0 } else { writer.random.random_range(0..100) };
        let at = if own.is_empty() { 0 } else { writer.random.random_range(0..own.len()) };
        let change = match which {
            0..40 => Change::Create(format!("w6-{number}-{next}")),
            40..75 => Change::Update(own[at].clone(), next),
            _ => Change::Delete(own.swap_remove(at)),
        };
        let made = if let Change::Create(name) = &change { Some(name.clone()) } else { None };
        let changed = if let Change::Update(name, _) = &change { Some(name.clone()) } else { None };
        let node = world.any_node(&mut writer.random);
        let again = if writer.random.random_bool(0.7) { AGAIN } else { 0 };
        if writer.change(node, change, again).await {
            own.extend(made);
        } else if let Some(name) = changed {
            // Not known: nothing more is asked of it.
            own.retain(|one| *one != name);
        }
        let rest = Duration::from_millis(writer.random.random_range(20..150));
        world.pause(rest).await;
    }
}

impl<'a> Writer<'a> {
    fn new(world: &'a World, number: u64) -> Writer<'a> {
        Writer { world, random: world.random(number), process: world.recorder.process(), next: 0 }
    }

    /// Whether it was answered as done.
    async fn change(&mut self, node: usize, change: Change, again: usize) -> bool {
        let request = uuid::Uuid::now_v7();
        let asked = json!({"id": change.id(), "node": node, "request": request});
        let open = self.world.recorder.invoke(self.process, "W6.change", asked.clone());
        let mut last = self.ask(&change, node, request).await;
        for attempt in 1..=again {
            if !matches!(&last, Err(error) if !error.definite) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
            let other = (node - 1 + attempt) % self.world.fleet.size() + 1;
            // A definite failure of a repetition says nothing of the first attempt.
            last = self.ask(&change, other, request).await.map_err(|error| NoAnswer { definite: false, ..error });
        }
        match last {
            Ok(answer) => {
                open.ok(told(&answer));
                if self.random.random_ratio(1, 3) {
                    let other = node % self.world.fleet.size() + 1;
                    self.repeat(&change, other, request, asked).await;
                }
                (200..300).contains(&answer.status)
            }
            Err(NoAnswer { definite: true, text }) => {
                open.fail(text);
                false
            }
            Err(NoAnswer { text, .. }) => {
                open.info(text);
                self.process = self.world.recorder.process();
                false
            }
        }
    }

    /// Asks for what was answered once more.
    async fn repeat(&mut self, change: &Change, node: usize, request: uuid::Uuid, asked: Value) {
        let open = self.world.recorder.invoke(self.process, "W6.again", asked);
        match self.ask(change, node, request).await {
            Ok(answer) => _ = open.ok(told(&answer)),
            Err(error) => {
                open.info(error.text);
                self.process = self.world.recorder.process();
            }
        }
    }

    async fn ask(&self, change: &Change, node: usize, request: uuid::Uuid) -> Result<Answer, NoAnswer> {
        let body =
            |name: &str, value: u64| json!({"name": name, "mapped_path": "/srv/w6", "description": value.to_string()});
        let one = |name: &str| format!("/api/v2/folders/{name}");
        let (method, path, body) = match change {
            Change::Create(name) => ("POST", "/api/v2/folders".to_owned(), Some(body(name, 0))),
            Change::Update(name, value) => ("PUT", one(name), Some(body(name, *value))),
            Change::Delete(name) => ("DELETE", one(name), None),
        };
        let ask =
            admin::Ask { method, path: &path, body: body.as_ref(), request_id: Some(request), ..admin::Ask::default() };
        let answer = self.world.fleet.admin(node).call(ask, ADMIN).await?;
        match answer.status {
            200..300 => Ok(answer),
            // Answers by the record's state, which a repetition that is taken again would get.
            404 | 409 if answer.body["definite"] != false => Ok(answer),
            status => {
                let definite = answer.body["definite"].as_bool().unwrap_or(true);
                Err(NoAnswer { definite, text: format!("{status} {}", answer.body) })
            }
        }
    }
}

fn told(answer: &Answer) -> Value {
    json!({"status": answer.status, "index": answer.index})
}
