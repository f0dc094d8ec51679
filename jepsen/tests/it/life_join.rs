//! Joins that meet trouble: an election, no quorum, a full disk, a wrong clock. Each ends well or says what to do; nothing half done.

use std::collections::BTreeSet;
use std::path::PathBuf;

use flotilla_jepsen::fleet::Fleet;
use flotilla_jepsen::lab::Mount;
use rustix::process::Signal;

use crate::clocks::library;

/// Ids and names of all members, as a machine sees them.
async fn members(fleet: &Fleet, through: usize) -> BTreeSet<(u64, String)> {
    let view = fleet.view(through).await.unwrap();
    let row = |node: &serde_json::Value| (node["id"].as_u64().unwrap(), node["name"].as_str().unwrap().to_owned());
    view["nodes"].as_array().unwrap().iter().map(row).collect()
}

/// Data folder without an identity: the machine belongs to no cluster.
fn belongs_nowhere(fleet: &Fleet, machine: usize) -> bool {
    !fleet.data(machine).join("identity").exists()
}

async fn leader(fleet: &Fleet, through: usize) -> usize {
    fleet.view(through).await.unwrap()["leader"].as_u64().unwrap() as usize
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_goes_on_over_an_election_and_its_token_lets_in_that_machine_only() {
    let mut fleet = Fleet::cluster_in(3, 6, &[]).await.unwrap();
    // The leader is dead before the call; it dies while the call is under way; it stands still for a while.
    for (machine, signal) in [(4, Some(Signal::KILL)), (5, None), (6, Some(Signal::STOP))] {
        let leads = leader(&fleet, 1).await;
        let follower = leads % 3 + 1;
        let token = fleet.token(follower).await.unwrap();
        let contact = fleet.peer_address(follower);
        if let Some(signal) = signal {
            fleet.signal(leads, signal).unwrap();
        }
        let options = ["--contact", contact.as_str()];
        let (joined, ()) = tokio::join!(fleet.join_with(machine, &token, &options), async {
            if signal.is_none() {
                let data = fleet.data(machine);
                fleet.until("the call has begun", async || Ok(data.exists())).await.unwrap();
                fleet.signal(leads, Signal::KILL).unwrap();
            }
        });
        let joined = joined.unwrap();
        assert!(joined.stderr.contains(&format!("as node {machine}")), "{}", joined.stderr);
        joined.ok().unwrap();
        if signal == Some(Signal::STOP) {
            fleet.signal(leads, Signal::CONT).unwrap();
        } else {
            fleet.ended(leads).await.unwrap();
            fleet.serve(leads).await.unwrap();
        }
        fleet.until_ready(leads).await.unwrap();
        // One row, and the token is that machine's.
        let expected: BTreeSet<_> = (1..=machine).map(|own| (own as u64, format!("m{own}"))).collect();
        assert_eq!(members(&fleet, follower).await, expected);
        let spare = fleet.config(machine).with_file_name("spare.toml");
        let text = std::fs::read_to_string(fleet.config(machine)).unwrap();
        let text = text.replace("/data\"", "/spare\"").replace(&format!("\"m{machine}\""), "\"spare\"");
        std::fs::write(&spare, text).unwrap();
        let again = fleet.run(&["join", &token, "--config", spare.to_str().unwrap()]).await.unwrap();
        let said = again.refused().unwrap();
        assert!(said.contains(&format!("was used for node {machine}")), "{said}");
        assert_eq!(members(&fleet, follower).await, expected);
        fleet.serve(machine).await.unwrap();
        fleet.until_ready(machine).await.unwrap();
        fleet.until_voters(1, if machine == 4 { 3 } else { 5 }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_without_a_quorum_says_so_and_the_same_call_succeeds_later() {
    let mut fleet = Fleet::cluster_in(3, 4, &[]).await.unwrap();
    let token = fleet.token(1).await.unwrap();
    fleet.kill(2).await.unwrap();
    fleet.kill(3).await.unwrap();
    let refused = fleet.join(4, &token).await.unwrap().refused().unwrap();
    assert!(
        refused.contains("no node let this machine in") && refused.contains("make the same call again"),
        "{refused}"
    );
    assert!(belongs_nowhere(&fleet, 4));
    for machine in [2, 3] {
        fleet.serve(machine).await.unwrap();
    }
    fleet.until_ready(1).await.unwrap();
    let joined = fleet.join(4, &token).await.unwrap();
    assert!(joined.stderr.contains("as node 4"), "{}", joined.stderr);
    fleet.serve(4).await.unwrap();
    fleet.until_ready(4).await.unwrap();
    assert_eq!(members(&fleet, 1).await.len(), 4, "one row for all tries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_on_a_full_disk_uses_no_token_up_and_one_that_fails_half_way_is_made_again() {
    let mut fleet = Fleet::cluster_in(1, 2, &[]).await.unwrap();
    let token = fleet.token(1).await.unwrap();
    let folder = fleet.data(2);
    let mount = Mount::at(&folder, 96).unwrap();
    let full = mount.fill().unwrap();
    let refused = fleet.join(2, &token).await.unwrap().refused().unwrap();
    assert!(refused.contains("No space left") && refused.contains("nothing was asked of the cluster"), "{refused}");
    assert!(belongs_nowhere(&fleet, 2));
    assert_eq!(members(&fleet, 1).await.len(), 1, "the cluster knows of nobody");
    drop(full);
    // Then the disk fails when the cluster has answered: a file stands where the identity is to be written.
    let obstacle: PathBuf = folder.join("identity.new");
    std::fs::write(&obstacle, "").unwrap();
    let half = fleet.join(2, &token).await.unwrap().refused().unwrap();
    assert!(half.contains("make the same call again") && half.contains("identity.new"), "{half}");
    assert!(belongs_nowhere(&fleet, 2));
    std::fs::remove_file(&obstacle).unwrap();
    let joined = fleet.join(2, &token).await.unwrap();
    assert!(joined.stderr.contains("as node 2"), "the same number: {}", joined.stderr);
    fleet.serve(2).await.unwrap();
    fleet.until_ready(2).await.unwrap();
    assert_eq!(members(&fleet, 1).await.len(), 2);
    fleet.kill(2).await.unwrap();
    drop(mount);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_with_a_wrong_clock_is_told_so_and_joins_when_it_is_right() {
    let library = library();
    let mut fleet = Fleet::cluster_in(1, 2, &[]).await.unwrap();
    let token = fleet.token(1).await.unwrap();
    // At the last two the cluster's certificates are not valid yet, or not any more.
    for (offset, way) in [("+3600", "ahead of"), ("-3600", "behind"), ("-9000d", "behind"), ("+9000d", "ahead of")] {
        let clock = [("LD_PRELOAD", library.as_str()), ("FAKETIME", offset), ("DONT_FAKE_MONOTONIC", "1")];
        let refused = fleet.join_in(&clock, 2, &token, &[]).await.unwrap().refused().unwrap();
        assert!(
            refused.contains("clock") && refused.contains(way) && refused.contains("set it"),
            "{offset}: {refused}"
        );
        assert!(belongs_nowhere(&fleet, 2), "{offset}");
        assert_eq!(members(&fleet, 1).await.len(), 1, "{offset}");
    }
    // Within what is allowed.
    let clock = [("LD_PRELOAD", library.as_str()), ("FAKETIME", "+120"), ("DONT_FAKE_MONOTONIC", "1")];
    let joined = fleet.join_in(&clock, 2, &token, &[]).await.unwrap();
    assert!(joined.stderr.contains("as node 2"), "{}", joined.stderr);
    fleet.serve(2).await.unwrap();
    fleet.until_ready(2).await.unwrap();
}
