//! A drain: transfers that run may end, logins go elsewhere, then leadership is handed over and the process ends.

use std::time::{Duration, Instant};

use flotilla_jepsen::client::{NoLogin, Sftp, Upload, pattern};
use flotilla_jepsen::fleet::Fleet;
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(20);
const DRAIN: &str = "FLOTILLA_SFTP__DRAIN_SECONDS";

async fn leader(fleet: &Fleet, through: usize) -> usize {
    fleet.view(through).await.unwrap()["leader"].as_u64().unwrap() as usize
}

async fn login(fleet: &Fleet, machine: usize) -> Sftp {
    let session = Sftp::login(fleet.sftp_port(machine), "drainer").await.unwrap();
    session.unwrap_or_else(|no| panic!("login on machine {machine}: {no:?}\n{}", fleet.log(machine)))
}

/// An upload that has begun: its first 32 KiB are written.
async fn begun(session: &Sftp, path: &str) -> String {
    let handle = session.create(path).await.unwrap();
    session.raw.write(handle.clone(), 0, pattern(0, 32_768)).await.unwrap();
    handle
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_leader_lets_its_transfers_end_and_hands_over_only_then() {
    let mut fleet = Fleet::cluster_in(3, 3, &[(DRAIN, "50")]).await.unwrap();
    fleet.user(1, "drainer").await.unwrap();
    let going = leader(&fleet, 1).await;
    let other = going % 3 + 1;
    let idle = login(&fleet, going).await;
    let busy = login(&fleet, going).await;
    let handle = begun(&busy, "/slow.bin").await;
    let begin = Instant::now();
    fleet.signal(going, Signal::TERM).unwrap();

    fleet
        .until("the balancer is told", async || {
            let (status, reasons) = fleet.readiness(going).await?;
            Ok(status == 503 && reasons.contains("draining"))
        })
        .await
        .unwrap();
    fleet
        .until("logins are refused", async || match Sftp::login(fleet.sftp_port(going), "drainer").await? {
            Ok(_) => anyhow::bail!("a login was taken"),
            Err(NoLogin::Denied) => anyhow::bail!("a right credential was denied"),
            Err(NoLogin::Disconnected(why)) => Ok(why.contains("refused")),
        })
        .await
        .unwrap();
    assert!(idle.valve.reset(SOON).await.unwrap(), "who transfers nothing does not hold up the drain");
    let elsewhere = login(&fleet, other).await;
    assert!(matches!(elsewhere.upload("/elsewhere.bin", 100_000, 32_768).await, Upload::Stored));
    assert_eq!(leader(&fleet, other).await, going, "leadership is not moved before transfers have ended");
    busy.raw.write(handle.clone(), 32_768, pattern(32_768, 32_768)).await.expect("the transfer goes on");
    busy.raw.close(handle).await.expect("and ends well");
    assert!(busy.valve.reset(SOON).await.unwrap(), "then it is over");
    assert_eq!(fleet.ended(going).await.unwrap(), Some(0), "{}", fleet.log(going));
    assert!(begin.elapsed() < Duration::from_secs(50), "it did not wait for its limit: {:?}", begin.elapsed());
    let stored = std::fs::read(fleet.files().join("drainer/slow.bin")).unwrap();
    assert_eq!(stored, pattern(0, 65_536));
    fleet
        .until("another leads", async || {
            let view = fleet.view(other).await?;
            Ok(view["leader"].as_u64().is_some_and(|leads| leads as usize != going))
        })
        .await
        .unwrap();
    assert!(!fleet.log_contains(going, "could not be handed over"), "{}", fleet.log(going));
    assert!(matches!(elsewhere.upload("/after.bin", 100_000, 32_768).await, Upload::Stored), "the session went on");
    fleet.serve(going).await.unwrap();
    fleet.until_ready(going).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_in_time_is_cut_and_who_waits_for_the_drain_is_told_how_it_went() {
    let mut fleet = Fleet::cluster_in(3, 3, &[(DRAIN, "4")]).await.unwrap();
    fleet.user(1, "drainer").await.unwrap();
    // Asked through another node, and through the node itself.
    for (node, through) in [(2, 1), (3, 3)] {
        let endless = login(&fleet, node).await;
        let _handle = begun(&endless, "/endless.bin").await;
        let drain = ["cluster", "drain", &node.to_string(), "--wait"];
        let drained = fleet.admin(through, &drain).await.unwrap();
        assert!(drained.stderr.contains(&format!("node {node} has drained and ended")), "{}", drained.stderr);
        drained.ok().unwrap();
        assert_eq!(fleet.ended(node).await.unwrap(), Some(0), "{}", fleet.log(node));
        assert!(endless.valve.reset(SOON).await.unwrap(), "it was cut");
        assert!(!fleet.files().join("drainer/endless.bin").exists(), "nothing half done is visible");
        let again = login(&fleet, 1).await;
        assert!(matches!(again.upload("/endless.bin", 100_000, 32_768).await, Upload::Stored), "tried again elsewhere");
        again.raw.remove("/endless.bin").await.unwrap();
        fleet.serve(node).await.unwrap();
        fleet.until_ready(node).await.unwrap();
    }

    // A wait that is too short is told from the drain's end.
    let busy = login(&fleet, 2).await;
    let _handle = begun(&busy, "/endless.bin").await;
    let short = fleet.admin(1, &["cluster", "drain", "2", "--wait", "--within", "1"]).await.unwrap();
    let said = short.refused().unwrap();
    assert!(said.contains("is still there after 1 s"), "{said}");
    assert_eq!(fleet.ended(2).await.unwrap(), Some(0));
    fleet.serve(2).await.unwrap();
    fleet.until_ready(2).await.unwrap();

    // Asked twice to stop it does not wait for transfers.
    let busy = login(&fleet, 2).await;
    let _handle = begun(&busy, "/endless.bin").await;
    fleet.signal(2, Signal::TERM).unwrap();
    fleet.until("it drains", async || Ok(fleet.readiness(2).await?.0 == 503)).await.unwrap();
    fleet.signal(2, Signal::TERM).unwrap();
    assert_eq!(fleet.ended(2).await.unwrap(), Some(0));
    assert!(fleet.log_contains(2, "asked again to stop"), "{}", fleet.log(2));
    assert_eq!(fleet.admin(1, &["cluster", "drain", "9"]).await.unwrap().code, 3, "there is no node 9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_drain_is_told_from_the_loss_of_whoever_was_asked() {
    let mut fleet = Fleet::cluster_in(3, 3, &[(DRAIN, "40")]).await.unwrap();
    fleet.user(1, "drainer").await.unwrap();
    let busy = login(&fleet, 2).await;
    let handle = begun(&busy, "/kept.bin").await;
    let drain = ["cluster", "drain", "2", "--wait", "--within", "8"];
    let (waited, ()) = tokio::join!(fleet.admin(3, &drain), async {
        fleet.until("it drains", async || Ok(fleet.readiness(2).await?.0 == 503)).await.unwrap();
        fleet.signal(3, Signal::KILL).unwrap();
    });
    let said = waited.unwrap().refused().unwrap();
    assert!(said.contains("whether it has ended is not known"), "{said}");
    // It has not, and a first signal to a node that drains already cuts nothing.
    fleet.signal(2, Signal::TERM).unwrap();
    fleet.until("the signal is met", async || Ok(fleet.log_contains(2, "it drains already"))).await.unwrap();
    busy.raw.close(handle).await.expect("the transfer ends well");
    assert_eq!(fleet.ended(2).await.unwrap(), Some(0), "{}", fleet.log(2));
    assert_eq!(std::fs::read(fleet.files().join("drainer/kept.bin")).unwrap(), pattern(0, 32_768));
    let _ = fleet.ended(3).await;
}
