//! What `/readyz` of a real node says, cause by cause, and that it is over when the cause is. Storages have theirs in `storages`; a full
//! data folder ends the process (`data_disk`).

use std::time::Duration;

use flotilla_jepsen::client::{Sftp, openssh_sftp_by_password};
use flotilla_jepsen::lab::{Lab, password_of};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(30);

async fn says(lab: &Lab, node: usize, why: &str) {
    let what = format!("/readyz of node {node} says {why:?}");
    // Nothing answers while a process starts.
    lab.until(SOON, &what, async || Ok(lab.unready(node).await.is_ok_and(|reasons| reasons.contains(why))))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readyz_names_a_drain_a_lost_quorum_a_lost_lease_and_a_node_that_has_not_caught_up() {
    let mut lab = Lab::start(3).await.unwrap();
    lab.user("ready", 0, 0, 0).await.unwrap();
    lab.until_ready(SOON).await.unwrap();
    let busy = Sftp::login(lab.sftp_port(2), "ready").await.unwrap().expect("login");
    let handle = busy.create("/slow").await.unwrap();
    busy.raw.write(&handle, 0, vec![1; 1000]).await.unwrap();
    lab.signal(2, Signal::TERM).unwrap();
    says(&lab, 2, "draining").await;
    let alive = lab.rest(2).unwrap().get("/livez").await.unwrap();
    assert_eq!(alive.0, 200, "a node that drains lives: {alive:?}");
    busy.raw.close(handle).await.expect("the transfer ends well");
    lab.gone(2).await.unwrap();
    lab.restart(2).await.unwrap();
    lab.until_ready(SOON).await.unwrap();

    // The lease runs down while no quorum renews it, and is over.
    let held = Sftp::login(lab.sftp_port(3), "ready").await.unwrap().expect("login");
    lab.kill(1).unwrap();
    lab.kill(2).unwrap();
    says(&lab, 3, "no quorum?").await;
    says(&lab, 3, "lease has 0 ms left").await;
    assert_eq!(lab.rest(3).unwrap().get("/livez").await.unwrap().0, 200, "it lives");
    assert!(held.valve.reset(SOON).await.unwrap(), "no lease, no session");
    let password = password_of("ready");
    let (ok, out, errors) = openssh_sftp_by_password(lab.sftp_port(3), "ready", &password, "pwd\n").await.unwrap();
    assert!(!ok && errors.contains("no quorum") && !errors.contains("denied"), "{out}{errors}");
    let Err(refused) = Sftp::login(lab.sftp_port(3), "ready").await.unwrap() else { panic!("let in without a quorum") };
    assert!(format!("{refused:?}").contains("no quorum"), "asked with the password at once: {refused:?}");

    // Alone from its start.
    lab.kill(3).unwrap();
    lab.restart(1).await.unwrap();
    says(&lab, 1, "has not caught up").await;
    says(&lab, 1, "has no lease yet").await;
    lab.restart(2).await.unwrap();
    lab.restart(3).await.unwrap();
    lab.until_ready(SOON).await.unwrap();
    for node in 1..=3 {
        let login = Sftp::login(lab.sftp_port(node), "ready").await.unwrap();
        assert!(login.is_ok(), "node {node}: {:?}\n{}", login.err(), lab.log_tails());
    }
}
