//! W4 and W5: uploads that do not all fit, over the same names, from all nodes at once; what is stored is looked at from outside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;

use super::World;
use super::sampler::Account;
use super::ssh::{self, Ended};
use crate::check::quota::{Quota, Rest};
use crate::client::Sftp;
use crate::content::{content, recognise};

const MIB: u64 = 1 << 20;
/// Limited by bytes, and by files.
const USERS: [(&str, Quota); 2] =
    [("w4-bytes", Quota { bytes: 4 * MIB, files: 0 }), ("w4-files", Quota { bytes: 0, files: 5 })];
const CLIENTS: u64 = 3;
/// Files of its own that a client has at most.
const OWN: usize = 2;
/// Names that the clients of a user share.
const NAMES: u64 = 8;
const STEP: Duration = Duration::from_secs(20);
const LOGIN: Duration = Duration::from_secs(10);
/// Size of the upload by which a staging folder is found: nothing else has it, and the next user's is a byte longer, since all are looked
/// for at once.
const PROBE: usize = 54_321;
fn probe_size(user: &str) -> Option<usize> {
    Some(PROBE + USERS.iter().position(|(name, _)| *name == user)?)
}

/// No such upload is longer.
pub const LONGEST_PROBE: u64 = (PROBE + USERS.len()) as u64;
/// How long clients are refused at the end.
const CALM: Duration = Duration::from_secs(5);
/// After the last session: closes, settlements, an expiry and an idle scan.
const AT_REST: Duration = Duration::from_secs(60);

pub async fn prepare(world: &World) -> Result<()> {
    for (user, quota) in USERS {
        world.make_user(user, 0, quota.bytes, quota.files).await?;
        world.recorder.observe("W4.quota", json!({"user": user, "bytes": quota.bytes, "files": quota.files}));
    }
    Ok(())
}

pub async fn run(world: Arc<World>) {
    let clients = USERS.into_iter().flat_map(|(user, _)| (0..CLIENTS).map(move |client| (user, client)));
    let mut tasks: Vec<_> = clients
        .map(|(user, client)| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { one_client(&world, user, 4_000 + client, || world.stopping()).await })
        })
        .collect();
    for (user, _) in USERS {
        let world = Arc::clone(&world);
        tasks.push(tokio::spawn(async move {
            tokio::join!(sample(&world, user), scan(&world, user));
        }));
    }
    futures::future::join_all(tasks).await;
}

/// A client with its session, made anew on any node when it is lost.
struct Client<'a> {
    world: &'a World,
    user: &'static str,
    process: u64,
    random: StdRng,
    node: usize,
    session: Option<Sftp>,
    next_content: u64,
    /// Files of its own, which it moves: each by its first name, with the names that it may have now.
    own: Vec<(String, Vec<String>)>,
}

impl<'a> Client<'a> {
    fn new(world: &'a World, user: &'static str, number: u64) -> Client<'a> {
        let process = world.recorder.process();
        let random = world.random(number);
        Client { world, user, process, random, node: 1, session: None, next_content: process << 20, own: vec![] }
    }

    async fn session(&mut self) -> Option<Sftp> {
        if let Some(session) = self.session.take() {
            return Some(session);
        }
        self.node = self.world.any_node(&mut self.random);
        ssh::login(self.world.fleet.sftp(self.node), self.user, LOGIN).await.ok()
    }

    async fn put(&mut self, session: &Sftp, path: &str, size: usize, cut_after: Option<usize>) -> Ended {
        self.next_content += 1;
        let id = self.next_content;
        let asked = json!({"user": self.user, "path": path, "content": id, "size": size, "node": self.node});
        let open = self.world.recorder.invoke(self.process, "W4.put", asked);
        let ended = ssh::upload(session, path, &content(id, size), cut_after, STEP).await;
        ended.close(open);
        ended
    }

    async fn remove(&mut self, session: &Sftp, path: &str) -> Ended {
        let asked = json!({"user": self.user, "path": path, "node": self.node});
        let open = self.world.recorder.invoke(self.process, "W4.remove", asked);
        let ended = ssh::remove(session, path, STEP).await;
        ended.close(open);
        ended
    }

    /// Makes a file of its own, moves one or removes one. Histories call it by its first name, which nobody else uses.
    async fn move_own(&mut self, session: &Sftp) -> Ended {
        if self.own.is_empty() || (self.own.len() < OWN && self.random.random_ratio(1, 3)) {
            self.next_content += 1;
            let path = format!("/own-{}", self.next_content);
            self.own.push((path.clone(), vec![path.clone()]));
            let size = self.random.random_range(100..60_000);
            return self.put(session, &path, size, None).await;
        }
        let (path, mut names) = self.own.swap_remove(self.random.random_range(0..self.own.len()));
        if self.random.random_bool(0.5) {
            self.next_content += 1;
            let to = format!("/moved-{}", self.next_content);
            let asked = json!({"user": self.user, "path": path, "to": to, "node": self.node});
            let open = self.world.recorder.invoke(self.process, "W4.move", asked);
            let mut ended = Ended::Failed(String::new());
            for from in names.iter().rev() {
                ended = ssh::rename(session, from, &to, STEP).await;
                if !matches!(ended, Ended::Failed(_)) {
                    break;
                }
            }
            ended.close(open);
            match ended {
                Ended::Done => names = vec![to],
                Ended::Failed(_) => {}
                _ => names.push(to),
            }
            self.own.push((path, names));
            return ended;
        }
        let asked = json!({"user": self.user, "path": path, "node": self.node});
        let open = self.world.recorder.invoke(self.process, "W4.remove", asked);
        let mut ended = Ended::Failed(String::new());
        for name in names.iter().rev() {
            ended = ssh::remove(session, name, STEP).await;
            if !matches!(ended, Ended::Failed(_)) {
                break;
            }
        }
        if matches!(ended, Ended::Unknown(_)) {
            self.own.push((path, names));
        }
        ended.close(open);
        ended
    }

    /// Whether it was answered.
    async fn read(&mut self, session: &Sftp, path: &str) -> bool {
        let asked = json!({"user": self.user, "path": path, "node": self.node});
        let open = self.world.recorder.invoke(self.process, "W4.read", asked);
        match ssh::read(session, path, STEP).await {
            Ok(seen) => {
                open.ok(json!({"saw": recognise(seen.as_deref())}));
                true
            }
            Err(text) => {
                open.fail(text);
                false
            }
        }
    }
}

async fn one_client(world: &World, user: &'static str, number: u64, over: impl Fn() -> bool) {
    let mut client = Client::new(world, user, number);
    while !over() {
        let Some(session) = client.session().await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let path = format!("/n{}", client.random.random_range(0..NAMES));
        // Few bytes for the one that is limited by files: those are to be many.
        let most = if user == "w4-files" { 2_000 } else { 1_200_000 };
        let size = client.random.random_range(200..most);
        let goes_on = match client.random.random_range(0..100) {
            0..50 => !matches!(client.put(&session, &path, size, None).await, Ended::Unknown(_)),
            // In the calm all uploads are whole, so that nothing excuses a refusal.
            50..58 if !world.is_calm() && !world.stopping() => {
                client.put(&session, &path, size, Some(1)).await;
                false
            }
            72..84 => !matches!(client.move_own(&session).await, Ended::Unknown(_)),
            50..84 => !matches!(client.remove(&session, &path).await, Ended::Unknown(_)),
            84..96 => client.read(&session, &path).await,
            _ => {
                session.leave().await;
                continue;
            }
        };
        // A session that answered goes on; one that was lost, or whose upload was cut, is dropped without a word.
        client.session = goes_on.then_some(session).filter(|session| !session.ssh.is_closed());
    }
    if let Some(session) = client.session {
        session.leave().await;
    }
}

/// Looks at the storage all the time.
async fn sample(world: &World, user: &'static str) {
    let account = loop {
        if world.stopping() {
            return;
        }
        if let Some(account) = find_account(world, user).await {
            break Arc::new(account);
        }
        world.pause(Duration::from_millis(300)).await;
    };
    let mut random = world.random(4_900);
    while !world.stopping() {
        if random.random_ratio(1, 8) {
            compare(world, user, &account, world.any_node(&mut random)).await;
        }
        let (account, recorder) = (Arc::clone(&account), world.recorder.clone());
        let sampled = tokio::task::spawn_blocking(move || account.sample(|| recorder.now_ns())).await;
        if let Ok(sample) = sampled {
            world.recorder.observe("W4.sample", json!({"user": user, "sample": sample}));
        }
        world.pause(Duration::from_millis(100)).await;
    }
}

/// At each instant at least as much is counted or granted as is stored. What was there before the ledger was read and is there after
/// it was there while it was read.
async fn compare(world: &World, user: &'static str, account: &Arc<Account>, node: usize) {
    let own = Arc::clone(account);
    let Ok(first) = tokio::task::spawn_blocking(move || own.walk()).await else { return };
    let Ok(said) = world.fleet.command(node, &["quota", "show", user, "--output", "json"]).await else { return };
    let (own, at_ns) = (Arc::clone(account), world.recorder.now_ns());
    let Ok(sample) = tokio::task::spawn_blocking(move || own.since(&first, at_ns)).await else { return };
    let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
    world.recorder.observe("W4.counted", json!({"user": user, "sample": sample, "said": said}));
}

/// Asks for scans of the account in use, all the time that there are faults.
async fn scan(world: &World, user: &'static str) {
    let (mut random, process) = (world.random(4_800), world.recorder.process());
    while !world.faults_over() {
        world.pause_fault(Duration::from_millis(random.random_range(500..3_000))).await;
        if world.is_calm() {
            continue;
        }
        let node = world.any_node(&mut random);
        let open = world.recorder.invoke(process, "W4.scan", json!({"user": user, "node": node}));
        let path = format!("/api/v2/quotas/users/{user}/scan");
        match world.fleet.admin(node).post(&path, &json!({}), Duration::from_secs(2)).await {
            Ok(answer) if answer.status == 202 => _ = open.ok(json!(null)),
            // What became of it does not matter: another one is asked for.
            Ok(answer) => _ = open.fail(format!("{} {}", answer.status, answer.body)),
            Err(error) => _ = open.info(error.text),
        }
    }
}

/// Writes a file of a size of its own and finds the folder in which it is staged; never closes it.
async fn find_account(world: &World, user: &'static str) -> Option<Account> {
    for node in world.fleet.places() {
        if let Some(account) = find_account_at(world, user, world.fleet.sftp(node)).await {
            return Some(account);
        }
    }
    None
}

async fn find_account_at(world: &World, user: &'static str, node: SocketAddr) -> Option<Account> {
    use russh_sftp::protocol::{FileAttributes, OpenFlags};
    let session = ssh::login(node, user, LOGIN).await.ok()?;
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let handle = session.raw.open("/probe", flags, FileAttributes::empty()).await.ok()?.handle;
    let size = probe_size(user)?;
    session.raw.write(&handle, 0, vec![1; size]).await.ok()?;
    let account = Account::find(&world.fleet.files(), world.fleet.files().join(user), size as u64);
    session.leave().await;
    account
}

/// What the ledger says, through any node that answers.
async fn used(world: &World, user: &str) -> Result<(u64, u64)> {
    let path = format!("/api/v2/users/{user}");
    for node in world.fleet.places() {
        if let Ok(answer) = world.fleet.admin(node).get(&path, Duration::from_secs(3)).await {
            let number = |name: &str| answer.body[name].as_u64();
            if let (Some(bytes), Some(files)) = (number("used_quota_size"), number("used_quota_files")) {
                return Ok((bytes, files));
            }
            bail!("{path}: {}", answer.body);
        }
    }
    bail!("no node answers {path} after the recovery")
}

/// Whether a scan of the user's account is wanted or under way, as any node says that answers.
async fn waits_for_scan(world: &World, user: &str) -> Result<bool> {
    for node in world.fleet.places() {
        if let Ok(answer) = world.fleet.admin(node).get("/api/v2/quotas/users/scans", Duration::from_secs(3)).await {
            let rows = answer.body.as_array().with_context(|| format!("scans: {}", answer.body))?;
            return Ok(rows.iter().any(|row| row["username"] == user));
        }
    }
    bail!("no node answers about scans after the recovery")
}

/// At rest the ledger and the storage agree, every name reads the same through every node, and the rest of the quota can be had.
pub async fn settle(world: &World) -> Result<()> {
    for (user, quota) in USERS {
        let account = tokio::time::timeout(AT_REST, async {
            loop {
                if let Some(account) = find_account(world, user).await {
                    return account;
                }
                // Where all of the quota is taken, a file has to go before another can be staged.
                let _ = make_room(world, user).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        });
        let account = account.await.with_context(|| format!("{user}: no upload is staged after the recovery"))?;
        // Whether they agree is the checker's to say. What stopped nodes held comes back by a scan, for which nobody must be there.
        let agree = async || Ok(used(world, user).await? == account.stored() && !waits_for_scan(world, user).await?);
        let _ = super::eventually(AT_REST, "ledger and storage agree", agree).await;
        let (used_bytes, used_files) = used(world, user).await?;
        let (stored_bytes, stored_files) = account.stored();
        read_all(world, user).await?;
        let filled = Some(fill(world, user, quota, (used_bytes, used_files)).await?);
        let at_ns = world.recorder.now_ns();
        let rest = Rest { at_ns, stored_bytes, stored_files, used_bytes, used_files, filled };
        world.recorder.observe("W4.rest", json!({"user": user, "rest": rest}));
        if quota.bytes != 0 {
            refuse_in_calm(world, user).await?;
        }
    }
    Ok(())
}

/// Nothing is held by nodes that are gone, and little is stored: from here on a refusal needs uploads that this run saw.
async fn refuse_in_calm(world: &World, user: &'static str) -> Result<()> {
    let mut client = Client::new(world, user, 0);
    let session = super::login_after_recovery(world, 1, user).await?;
    for entry in std::fs::read_dir(world.fleet.files().join(user)).context("the account's files")? {
        let path = format!("/{}", entry?.file_name().to_string_lossy());
        let removed = client.remove(&session, &path).await;
        ensure!(!matches!(removed, Ended::Unknown(_)), "removing {path} after the recovery: {removed:?}");
    }
    session.leave().await;
    let credited = async || Ok(used(world, user).await? == (0, 0));
    super::eventually(AT_REST, "what was removed is credited", credited).await?;
    world.recorder.observe("W4.calm", json!({"user": user}));
    let end = tokio::time::Instant::now() + CALM;
    let over = || tokio::time::Instant::now() > end;
    futures::future::join_all((0..CLIENTS).map(|client| one_client(world, user, 4_500 + client, over))).await;
    Ok(())
}

async fn make_room(world: &World, user: &'static str) -> Result<()> {
    let mut client = Client::new(world, user, 0);
    let session = super::login_after_recovery(world, 1, user).await?;
    let names = std::fs::read_dir(world.fleet.files().join(user))?.flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        if client.remove(&session, &format!("/{name}")).await == Ended::Done {
            break;
        }
    }
    session.leave().await;
    Ok(())
}

async fn read_all(world: &World, user: &'static str) -> Result<()> {
    for node in world.fleet.places() {
        let mut client = Client::new(world, user, 0);
        client.node = node;
        let session = super::login_after_recovery(world, node, user).await?;
        for name in 0..NAMES {
            ensure!(client.read(&session, &format!("/n{name}")).await, "/n{name} on node {node} after the recovery");
        }
        session.leave().await;
    }
    Ok(())
}

/// Uploads what is left to the last byte or file, and one more. Whether the first was stored and the second refused.
async fn fill(world: &World, user: &'static str, quota: Quota, used: (u64, u64)) -> Result<bool> {
    let mut client = Client::new(world, user, 0);
    let session = super::login_after_recovery(world, 1, user).await?;
    let mut stored = true;
    if quota.bytes != 0 {
        let left = quota.bytes.saturating_sub(used.0) as usize;
        stored &= client.put(&session, "/fill", left, None).await == Ended::Done;
    } else {
        for number in used.1..quota.files {
            stored &= client.put(&session, &format!("/fill{number}"), 100, None).await == Ended::Done;
        }
    }
    let over = client.put(&session, "/over", 1, None).await;
    session.leave().await;
    Ok(stored && matches!(over, Ended::Failed(_)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{LONGEST_PROBE, USERS, probe_size};

    #[test]
    fn no_two_users_are_found_by_the_same_size() {
        let sizes: BTreeSet<u64> = USERS.iter().map(|(user, _)| probe_size(user).expect("a size") as u64).collect();
        assert_eq!(sizes.len(), USERS.len());
        assert!(sizes.iter().all(|size| *size <= LONGEST_PROBE));
        assert_eq!(probe_size("someone else"), None);
    }
}
