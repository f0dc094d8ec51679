//! W1: records of users changed and read through all nodes, and logins with what may be the password.
//!
//! Half of the changes whose answer is lost are asked again under the same request id through another node until they are
//! answered: one operation of the history, which must have happened once (W7).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;

use super::World;
use super::ssh::{self, Refused};
use crate::admin::{self, NoAnswer};
use crate::check::users::{Ask, Told};

/// Users that are worked on at one time.
const KEYS: u64 = 2;
/// Processes on one user.
const CLIENTS: u64 = 3;
/// Operations of one process on one user: keeps the black-box search small.
const ROUNDS: usize = 20;
/// Lost answers after which a process leaves a user: each open operation doubles the search.
const LOST: usize = 2;
/// Short, so that lost answers are frequent under faults.
const ADMIN: Duration = Duration::from_secs(1);
const LOGIN: Duration = Duration::from_secs(8);
/// Repetitions of a change under its request id.
const AGAIN: usize = 40;

pub async fn run(world: Arc<World>) {
    let keys = (0..KEYS).map(|key| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            for generation in 0.. {
                if world.stopping() {
                    return;
                }
                let user = format!("w1-{key}-{generation}");
                let clients = (0..CLIENTS).map(|client| {
                    let number = (key * 1_000_000 + generation) * 10 + client;
                    one_client(&world, &user, number)
                });
                futures::future::join_all(clients).await;
            }
        })
    });
    futures::future::join_all(keys).await;
}

/// After the recovery: a user is made, changed, read and logged in through every node.
pub async fn settle(world: &World) -> Result<()> {
    let mut client = Client::new(world, "w1-final", u64::MAX / 2);
    for node in world.fleet.places() {
        for kind in [Kind::Change, Kind::Read, Kind::Login] {
            let end = tokio::time::Instant::now() + super::AFTER_RECOVERY;
            while !client.do_one(node, 0, kind).await {
                ensure!(tokio::time::Instant::now() < end, "no operation through node {node} after the recovery");
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    }
    Ok(())
}

async fn one_client(world: &World, user: &str, number: u64) {
    let mut client = Client::new(world, user, number);
    for _ in 0..ROUNDS {
        if world.stopping() || client.lost > LOST {
            return;
        }
        let node = world.any_node(&mut client.random);
        let kind = match client.random.random_range(0..100) {
            0..35 => Kind::Read,
            35..65 => Kind::Login,
            65..93 => Kind::Change,
            _ => Kind::Delete,
        };
        let again = if client.random.random_bool(0.5) { AGAIN } else { 0 };
        client.do_one(node, again, kind).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Login,
    Change,
    Delete,
}

struct Client<'a> {
    world: &'a World,
    user: String,
    random: StdRng,
    process: u64,
    /// What this process last saw: value and revision.
    known: Option<(u64, u64)>,
    next_value: u64,
    lost: usize,
}

impl<'a> Client<'a> {
    fn new(world: &'a World, user: &str, number: u64) -> Client<'a> {
        let (random, process) = (world.random(number), world.recorder.process());
        // Values are unique in a run: each process has its own block.
        Client { world, user: user.to_owned(), random, process, known: None, next_value: process << 20, lost: 0 }
    }

    /// Whether it was answered.
    async fn do_one(&mut self, node: usize, again: usize, kind: Kind) -> bool {
        let ask = self.choose(node, kind);
        let open = self.world.recorder.invoke(self.process, name(&ask), json!(ask));
        let told = match &ask {
            Ask::Login { value, .. } => self.login(node, *value).await,
            Ask::Get { .. } => self.get(node).await,
            _ => self.change(&ask, node, again).await,
        };
        match told {
            Ok(told) => {
                self.learn(&ask, &told);
                open.ok(json!(told));
                return true;
            }
            Err(NoAnswer { definite: true, text }) => _ = open.fail(text),
            Err(NoAnswer { text, .. }) => {
                open.info(text);
                self.lost += 1;
                self.process = self.world.recorder.process();
            }
        }
        false
    }

    fn choose(&mut self, node: usize, kind: Kind) -> Ask {
        let user = self.user.clone();
        let known = self.known.filter(|_| self.random.random_bool(0.5));
        self.next_value += 1;
        let (value, enabled) = (self.next_value, self.random.random_ratio(5, 6));
        match kind {
            Kind::Read => Ask::Get { user, node },
            Kind::Login => Ask::Login { user, value: self.known.map_or(0, |(value, _)| value), node },
            Kind::Delete => Ask::Delete { user, expect: known.map(|(_, revision)| revision) },
            Kind::Change if self.known.is_none() => Ask::Create { user, value, enabled },
            Kind::Change => Ask::Update { user, value, enabled, expect: known.map(|(_, revision)| revision) },
        }
    }

    fn learn(&mut self, ask: &Ask, told: &Told) {
        match (ask, told) {
            (_, Told::Found { value, revision, .. }) => self.known = Some((*value, *revision)),
            (Ask::Create { value, .. } | Ask::Update { value, .. }, Told::Done { index }) => {
                self.known = Some((*value, *index));
            }
            (Ask::Delete { .. }, Told::Done { .. }) | (_, Told::Absent { .. }) => self.known = None,
            (Ask::Create { .. }, Told::Exists) => self.known = Some((0, 0)),
            _ => {}
        }
    }

    async fn login(&self, node: usize, value: u64) -> Result<Told, NoAnswer> {
        let address = self.world.fleet.sftp(node);
        match ssh::login_with(address, &self.user, &password(value), LOGIN).await {
            Ok(sftp) => {
                tokio::spawn(sftp.leave());
                Ok(Told::LoggedIn)
            }
            Err(Refused::Denied) => Ok(Told::Denied),
            // A login changes nothing of the record: one without an answer says nothing.
            Err(Refused::Limit(text) | Refused::Unavailable(text)) => Err(NoAnswer { definite: true, text }),
        }
    }

    async fn get(&self, node: usize) -> Result<Told, NoAnswer> {
        let nothing = |text: String| NoAnswer { definite: true, text };
        let path = format!("/api/v2/users/{}", self.user);
        let answer = self.world.fleet.admin(node).get(&path, ADMIN).await.map_err(|error| nothing(error.text))?;
        match answer.status {
            404 => Ok(Told::Absent { index: answer.index }),
            200 => {
                let value = answer.body["description"].as_str().and_then(|text| text.parse().ok());
                let enabled = answer.body["status"].as_u64().map(|status| status == 1);
                match (value, enabled, answer.revision, answer.index) {
                    (Some(value), Some(enabled), Some(revision), Some(index)) => {
                        Ok(Told::Found { value, enabled, revision, index })
                    }
                    _ => Err(nothing(format!("a user without value, revision or index: {}", answer.body))),
                }
            }
            other => Err(nothing(format!("{other} {}", answer.body))),
        }
    }

    async fn change(&self, ask: &Ask, node: usize, again: usize) -> Result<Told, NoAnswer> {
        let id = uuid::Uuid::now_v7();
        let mut last = self.change_once(ask, node, id).await;
        for attempt in 1..=again {
            if !matches!(&last, Err(error) if !error.definite) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
            let other = (node - 1 + attempt) % self.world.fleet.size() + 1;
            // A definite failure of a repetition says nothing of the first attempt.
            last = self.change_once(ask, other, id).await.map_err(|error| NoAnswer { definite: false, ..error });
        }
        last
    }

    async fn change_once(&self, ask: &Ask, node: usize, id: uuid::Uuid) -> Result<Told, NoAnswer> {
        let one = format!("/api/v2/users/{}", self.user);
        let (method, path, body, if_match) = match ask {
            Ask::Create { value, enabled, .. } => ("POST", "/api/v2/users", self.body(*value, *enabled), None),
            Ask::Update { value, enabled, expect, .. } => ("PUT", one.as_str(), self.body(*value, *enabled), *expect),
            Ask::Delete { expect, .. } => ("DELETE", one.as_str(), json!({}), *expect),
            Ask::Get { .. } | Ask::Login { .. } => unreachable!("these change nothing"),
        };
        let body = (method != "DELETE").then_some(&body);
        let request = admin::Ask { method, path, body, if_match, request_id: Some(id) };
        let answer = self.world.fleet.admin(node).call(request, ADMIN).await?;
        match (answer.status, answer.index) {
            (200 | 201, Some(index)) => Ok(Told::Done { index }),
            // A repetition whose record is gone since is told so, not for certain.
            (404 | 409 | 412, _) if answer.body["definite"] == false => {
                Err(NoAnswer { definite: false, text: answer.body.to_string() })
            }
            (404, index) => Ok(Told::Absent { index }),
            (409, _) => Ok(Told::Exists),
            (412, _) => Ok(Told::Stale),
            (status, _) => {
                let definite = answer.body["definite"].as_bool().unwrap_or(status < 500);
                Err(NoAnswer { definite, text: format!("{status} {}", answer.body) })
            }
        }
    }

    fn body(&self, value: u64, enabled: bool) -> serde_json::Value {
        json!({
            "username": self.user, "password": password(value), "status": u8::from(enabled),
            "permissions": {"/": ["*"]}, "description": value.to_string(),
        })
    }
}

fn password(value: u64) -> String {
    format!("password-of-{value}")
}

fn name(ask: &Ask) -> &'static str {
    match ask {
        Ask::Create { .. } => "W1.create",
        Ask::Update { .. } => "W1.update",
        Ask::Delete { .. } => "W1.delete",
        Ask::Get { .. } => "W1.get",
        Ask::Login { .. } => "W1.login",
    }
}
