//! Workloads: clients that ask, and write down what they asked and were told. They judge nothing; checkers do.

mod balanced;
pub mod events;
mod exclusive;
pub mod quota;
pub mod revocation;
pub mod sampler;
pub mod slots;
pub mod ssh;
pub mod users;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::sync::watch;

use crate::cluster::Fleet;
use crate::history::Recorder;
use crate::net::Place;

/// What a run is at. In the calm before and after the faults clients leave in order, so that refusals have nothing to excuse them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    CalmBefore,
    Faults,
    /// No new faults; what there is is undone.
    CalmAfter,
    /// The time for new operations is over.
    Over,
}

/// A rule that must hold after the recovery, and does not.
#[derive(Debug)]
pub struct Broken {
    pub rule: &'static str,
    pub text: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Broken {}

/// What all clients of a run share.
pub struct World {
    pub fleet: Arc<Fleet>,
    pub recorder: Recorder,
    pub seed: u64,
    phase: watch::Sender<Phase>,
    /// Sessions of limited users that serve now, for the nemesis that looks for a victim: session to (user, node, since).
    pub serving: Mutex<BTreeMap<u64, Serving>>,
    /// Held by each fault of the network, and by a pause that wants a takeover, which needs a quorum for longer than a lease.
    pub network_fault: tokio::sync::Mutex<()>,
}

/// A session that is being served.
#[derive(Clone, Debug)]
pub struct Serving {
    pub user: String,
    pub node: Place,
    pub since_ns: u64,
}

/// Nodes that are ready may lose their leader once more, on a machine that is busy: operations that must succeed after the recovery are
/// asked for again until then.
pub const AFTER_RECOVERY: Duration = Duration::from_secs(20);

/// How often something that must succeed is tried again while the cluster comes back.
const AGAIN: Duration = Duration::from_millis(500);

impl World {
    pub fn new(fleet: Arc<Fleet>, seed: u64) -> Arc<World> {
        let recorder = fleet.recorder.clone();
        let (phase, serving) = (watch::Sender::new(Phase::CalmBefore), Mutex::default());
        Arc::new(World { fleet, recorder, seed, phase, serving, network_fault: tokio::sync::Mutex::default() })
    }

    /// Phases only go on.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_modify(|now| *now = phase.max(*now));
    }
    pub fn stopping(&self) -> bool {
        *self.phase.borrow() == Phase::Over
    }
    pub fn is_calm(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::CalmBefore | Phase::CalmAfter)
    }
    pub fn faults_over(&self) -> bool {
        *self.phase.borrow() >= Phase::CalmAfter
    }
    /// Waits for a while, or until the run stops.
    pub async fn pause(&self, time: Duration) {
        self.wait(time, Phase::Over).await;
    }
    /// Waits for a while, or until faults are to be undone.
    pub async fn pause_fault(&self, time: Duration) {
        self.wait(time, Phase::CalmAfter).await;
    }
    async fn wait(&self, time: Duration, until: Phase) {
        let mut phase = self.phase.subscribe();
        let _ = tokio::time::timeout(time, phase.wait_for(|phase| *phase >= until)).await;
    }
    /// The random numbers of one client: they depend on the run's seed and the client's place only.
    pub fn random(&self, client: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(client))
    }
    pub fn any_node(&self, random: &mut StdRng) -> Place {
        random.random_range(1..=self.fleet.size())
    }

    pub fn serves(&self, session: u64, serving: Serving) {
        self.table().insert(session, serving);
    }
    pub fn served(&self, session: u64) {
        self.table().remove(&session);
    }
    fn table(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Serving>> {
        self.serving.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    /// The sessions that serve now.
    pub fn sessions(&self) -> Vec<Serving> {
        self.table().values().cloned().collect()
    }

    /// Makes a user for a workload, before the faults begin or after the recovery: must succeed.
    pub async fn make_user(&self, name: &str, max_sessions: u64, quota_size: u64, quota_files: u64) -> Result<()> {
        let body = json!({
            "username": name, "password": crate::lab::password_of(name), "status": 1, "permissions": {"/": ["*"]},
            "max_sessions": max_sessions, "quota_size": quota_size, "quota_files": quota_files,
        });
        let mut last = String::new();
        for attempt in 0..20 {
            let node = attempt % self.fleet.size() + 1;
            match self.fleet.admin(node).post("/api/v2/users", &body, Duration::from_secs(5)).await {
                Ok(answer) if answer.status == 201 || (answer.status == 409 && attempt > 0) => return Ok(()),
                Ok(answer) => bail!("making {name}: {} {}", answer.status, answer.body),
                Err(error) => last = error.text,
            }
            tokio::time::sleep(AGAIN).await;
        }
        bail!("making {name}: {last}")
    }
}

/// The workloads by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Workload {
    /// Users and logins.
    W1,
    /// Session slots.
    W2,
    /// Revocation.
    W3,
    /// Quota, uploads and what is stored.
    W4,
    /// Uploads of one session at a time, by more clients than that.
    W5,
    /// The event stream, and requests that are repeated (W7).
    W6,
    /// Uploads through a balancer, with retries.
    W10,
}

impl Workload {
    /// Makes what the clients need.
    pub async fn prepare(self, world: &World) -> Result<()> {
        match self {
            Workload::W1 | Workload::W3 | Workload::W6 => Ok(()),
            Workload::W2 => slots::prepare(world).await,
            Workload::W4 => quota::prepare(world).await,
            Workload::W5 => exclusive::prepare(world).await,
            Workload::W10 => balanced::prepare(world).await,
        }
    }

    /// Runs its clients until the world stops; returns when the last of them has come to an end.
    pub async fn run(self, world: Arc<World>) {
        match self {
            Workload::W1 => users::run(world).await,
            Workload::W2 => slots::run(world).await,
            Workload::W3 => revocation::run(world).await,
            Workload::W4 => quota::run(world).await,
            Workload::W6 => events::run(world).await,
            Workload::W5 => exclusive::run(world).await,
            Workload::W10 => balanced::run(world).await,
        }
    }

    /// Operations after the recovery that must succeed, and observations at rest.
    pub async fn settle(self, world: &World) -> Result<()> {
        match self {
            Workload::W1 => users::settle(world).await,
            Workload::W2 => slots::settle(world).await,
            Workload::W3 => revocation::settle(world).await,
            Workload::W4 => quota::settle(world).await,
            Workload::W6 => events::settle(world).await,
            Workload::W5 => exclusive::settle(world).await,
            Workload::W10 => balanced::settle(world).await,
        }
    }
}

/// A login after the recovery: for want of a quorum it is asked for again.
pub async fn login_after_recovery(world: &World, node: Place, user: &str) -> Result<crate::client::Sftp> {
    let end = tokio::time::Instant::now() + AFTER_RECOVERY;
    loop {
        match ssh::login(world.fleet.sftp(node), user, Duration::from_secs(12)).await {
            Ok(session) => return Ok(session),
            Err(ssh::Refused::Unavailable(text)) if tokio::time::Instant::now() > end => {
                bail!("{user} on node {node} after the recovery: {text}")
            }
            Err(ssh::Refused::Unavailable(_)) => {}
            Err(refused) => {
                let text = format!("{user} on node {node} after the recovery: {refused:?}");
                return Err(Broken { rule: "S-live", text }.into());
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Polls something that must come true after the recovery.
pub async fn eventually(limit: Duration, what: &str, check: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let end = tokio::time::Instant::now() + limit;
    let mut every = tokio::time::interval(Duration::from_millis(200));
    loop {
        every.tick().await;
        if check().await? {
            return Ok(());
        }
        ensure!(tokio::time::Instant::now() < end, "not within {limit:?}: {what}");
    }
}
