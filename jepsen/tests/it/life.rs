//! A cluster's life, by the commands that an operator types.

use flotilla_jepsen::client::{Sftp, Upload};
use flotilla_jepsen::fleet::Fleet;

async fn stored(fleet: &Fleet, machine: usize, user: &str, path: &str) -> Vec<u8> {
    let session = Sftp::login(fleet.sftp_port(machine), user).await.unwrap();
    let session = session.unwrap_or_else(|no| panic!("login on machine {machine}: {no:?}\n{}", fleet.log(machine)));
    session.download(path).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_machines_become_a_cluster_and_every_wrong_token_is_told_why() {
    let mut fleet = Fleet::new(4).await.unwrap();
    let text = fleet.run(&["serve", "--config", "/nowhere/flotilla.toml"]).await.unwrap().refused().unwrap();
    assert!(text.contains("/nowhere/flotilla.toml"), "{text}");
    fleet.init(1).await.unwrap().ok().unwrap();
    let config = fleet.config(1);
    let text = fleet.run(&["init", "--config", config.to_str().unwrap()]).await.unwrap().refused().unwrap();
    assert!(text.contains("is node 1 of cluster"), "{text}");
    fleet.serve(1).await.unwrap();
    fleet.until_ready(1).await.unwrap();
    fleet.user(1, "alice").await.unwrap();

    let text = fleet.join(2, "flotilla-join-abcdefgh").await.unwrap().refused().unwrap();
    assert!(text.contains("damaged"), "{text}");
    let first = fleet.token(1).await.unwrap();
    let joined = fleet.join(2, &first).await.unwrap();
    assert!(joined.stderr.contains("as node 2") && joined.stderr.contains("has no vote"), "{}", joined.stderr);
    fleet.serve(2).await.unwrap();
    fleet.until_ready(2).await.unwrap();
    assert_eq!(fleet.with_role(1, &["learner"]).await.unwrap(), [2]);
    let status = fleet.admin(2, &["cluster", "status"]).await.unwrap();
    assert!(status.stderr.contains("a learner serves sessions"), "{}", status.stderr);
    assert!(status.ok().unwrap().contains("learner"));

    // Used; expired; the same name; through a follower.
    let text = fleet.join(3, &first).await.unwrap().refused().unwrap();
    assert!(text.contains("was used for node 2"), "{text}");
    let short = fleet.admin(1, &["cluster", "token", "--life", "1"]).await.unwrap().ok().unwrap();
    // Under a name that is taken, so that a token that is still valid is not used up.
    let named = fleet.config(3).with_file_name("named.toml");
    std::fs::write(&named, named_like(&fleet, 3, "m2")).unwrap();
    let named = named.to_str().unwrap();
    fleet
        .until("the token has expired", async || {
            let text = fleet.run(&["join", short.trim(), "--config", named]).await?.refused()?;
            assert!(text.contains("has expired") || text.contains("has the name m2 already"), "{text}");
            Ok(text.contains("has expired"))
        })
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    let token = fleet.token(2).await.unwrap();
    let text = fleet.run(&["join", &token, "--config", named]).await.unwrap().refused().unwrap();
    assert!(text.contains("node 2 has the name m2 already"), "{text}");
    let follower = fleet.peer_address(2);
    let joined = fleet.join_with(3, &token, &["--contact", &follower]).await.unwrap();
    assert!(joined.stderr.contains("as node 3"), "{}", joined.stderr);
    fleet.serve(3).await.unwrap();
    fleet.until_voters(1, 3).await.unwrap();
    for machine in 1..=3 {
        fleet.until_ready(machine).await.unwrap();
        let login = Sftp::login(fleet.sftp_port(machine), "alice").await.unwrap();
        assert!(login.is_ok(), "machine {machine}: {:?}", login.err());
    }

    // A token of another cluster, and this cluster's token at another one.
    let other = Fleet4(&fleet);
    other.join_stranger().await;
    let config = fleet.config(2);
    let text = fleet.join_with(2, &token, &[]).await.unwrap().refused().unwrap();
    assert!(text.contains("is node 2 of cluster"), "{} {text}", config.display());
}

/// The configuration of a machine under another node's name.
fn named_like(fleet: &Fleet, machine: usize, name: &str) -> String {
    format!(
        "[node]\nname = \"{name}\"\ndata = \"{}\"\n[peers]\nlisten = \"{}\"\n[[sftp.listen]]\naddress = \"127.0.0.1:{}\"\n\
         [admin]\nlisten = \"127.0.0.1:{}\"\n[[storage]]\nname = \"files\"\npath = \"{}\"\n",
        fleet.data(machine).display(),
        fleet.peer_address(machine),
        fleet.sftp_port(machine),
        fleet.admin_port(machine),
        fleet.files().display()
    )
}

/// The fourth machine founds a cluster of its own and meets the first one's tokens.
struct Fleet4<'a>(&'a Fleet);

impl Fleet4<'_> {
    async fn join_stranger(&self) {
        let fleet = self.0;
        let own = fleet.config(4);
        std::fs::create_dir_all(own.parent().unwrap()).unwrap();
        // A storage belongs to one cluster.
        std::fs::create_dir_all(fleet.folder().join("files4")).unwrap();
        std::fs::write(&own, named_like(fleet, 4, "stranger").replace("/files\"", "/files4\"")).unwrap();
        let elsewhere = own.with_file_name("admin.token");
        let init = ["init", "--config", own.to_str().unwrap(), "--token-out", elsewhere.to_str().unwrap()];
        fleet.run(&init).await.unwrap().ok().unwrap();
        let mut stranger = tokio::process::Command::new(flotilla_jepsen::lab::binary().unwrap())
            .args(["serve", "--config", own.to_str().unwrap()])
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        fleet.until_ready(4).await.unwrap();
        let token = fleet.token(1).await.unwrap();
        let fresh = own.with_file_name("fresh.toml");
        let text = named_like(fleet, 4, "fresh").replace("m4/data", "m4/fresh");
        std::fs::write(&fresh, text).unwrap();
        let join = ["join", &token, "--contact", &fleet.peer_address(4), "--config", fresh.to_str().unwrap()];
        let text = fleet.run(&join).await.unwrap().refused().unwrap();
        assert!(text.contains("is not the cluster of this token"), "{text}");
        stranger.kill().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_disk_is_replaced_and_the_removed_node_never_comes_back() {
    let mut fleet = Fleet::cluster(3).await.unwrap();
    fleet.user(1, "keeper").await.unwrap();
    let session = Sftp::login(fleet.sftp_port(3), "keeper").await.unwrap().expect("login");
    assert!(matches!(session.upload("/kept", 1 << 20, 32768).await, Upload::Stored));
    drop(session);
    let old_data = fleet.data(3).with_file_name("old");
    fleet.kill(3).await.unwrap();
    copy(&fleet.data(3), &old_data);
    std::fs::remove_dir_all(fleet.data(3)).unwrap();
    let removed = fleet.admin(1, &["cluster", "remove", "3"]).await.unwrap();
    assert!(removed.stderr.contains("cluster key was replaced"), "{}", removed.stderr);
    assert!(removed.stderr.contains("flotilla host-key rotate"), "{}", removed.stderr);
    removed.ok().unwrap();
    fleet.until_voters(1, 2).await.unwrap();
    fleet
        .admin(1, &["cluster", "remove", "3"])
        .await
        .unwrap()
        .ok()
        .expect("it is done already: asking again is no mistake");
    let token = fleet.token(2).await.unwrap();
    let joined = fleet.join(3, &token).await.unwrap();
    assert!(joined.stderr.contains("as node 4"), "{}", joined.stderr);
    fleet.serve(3).await.unwrap();
    fleet.until_voters(1, 3).await.unwrap();
    fleet.until_ready(3).await.unwrap();
    assert_eq!(stored(&fleet, 3, "keeper", "/kept").await.len(), 1 << 20);
    fleet.kill(3).await.unwrap();
    // The old disk turns up again.
    let new_data = fleet.data(3).with_file_name("new");
    std::fs::rename(fleet.data(3), &new_data).unwrap();
    std::fs::rename(&old_data, fleet.data(3)).unwrap();
    fleet.start(3).unwrap();
    fleet
        .until("the removed node is told so", async || Ok(fleet.log_contains(3, "node 3 was removed from the cluster")))
        .await
        .unwrap();
    assert_ne!(fleet.readiness(3).await.unwrap().0, 200);
    fleet.kill(3).await.unwrap();
    std::fs::remove_dir_all(fleet.data(3)).unwrap();
    std::fs::rename(&new_data, fleet.data(3)).unwrap();
    fleet.serve(3).await.unwrap();
    fleet.until_ready(3).await.unwrap();
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            // Not the local socket.
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_of_a_lost_quorum_is_recovered_and_grows_again() {
    let mut fleet = Fleet::cluster(3).await.unwrap();
    fleet.user(1, "survivor").await.unwrap();
    let session = Sftp::login(fleet.sftp_port(1), "survivor").await.unwrap().expect("login");
    assert!(matches!(session.upload("/kept", 100_000, 32768).await, Upload::Stored));
    drop(session);
    let config = fleet.config(3);
    let recover = ["cluster", "recover", "--config", config.to_str().unwrap()];
    let loud = [&recover[..], &["--others-are-lost"]].concat();
    let text = fleet.run(&recover).await.unwrap().refused().unwrap();
    assert!(text.contains("FOR GOOD"), "{text}");
    let text = fleet.run(&loud).await.unwrap().refused().unwrap();
    assert!(text.contains("in use by another process"), "{text}");
    fleet.kill(3).await.unwrap();
    let text = fleet.run(&loud).await.unwrap().refused().unwrap();
    assert!(text.contains("are a quorum of 3 voters") && text.contains("nothing was changed"), "{text}");
    fleet.kill(1).await.unwrap();
    fleet.kill(2).await.unwrap();
    let recovered = fleet.run(&loud).await.unwrap();
    assert!(recovered.stderr.contains("nodes 1, 2"), "{}", recovered.stderr);
    recovered.ok().unwrap();
    fleet.serve(3).await.unwrap();
    fleet.until_ready(3).await.unwrap();
    assert_eq!(fleet.with_role(3, &["leader", "voter", "learner"]).await.unwrap(), [3]);
    assert_eq!(stored(&fleet, 3, "survivor", "/kept").await.len(), 100_000);
    for machine in [1, 2] {
        std::fs::remove_dir_all(fleet.data(machine)).unwrap();
        let token = fleet.token(3).await.unwrap();
        fleet.join(machine, &token).await.unwrap().ok().unwrap();
        fleet.serve(machine).await.unwrap();
    }
    fleet.until_voters(3, 3).await.unwrap();
    fleet.until_ready(1).await.unwrap();
    assert_eq!(stored(&fleet, 1, "survivor", "/kept").await.len(), 100_000);
}
