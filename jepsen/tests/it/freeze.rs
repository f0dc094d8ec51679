//! A node frozen past its lease, thawed while another session serves in the freed slot.

use std::time::Duration;

use flotilla_jepsen::client::{Sftp, Upload};
use flotilla_jepsen::lab::Lab;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thawed_node_acknowledges_nothing_and_its_late_publish_replaces_nothing() {
    let lab = Lab::start(3).await.unwrap();
    lab.user("frozen", 1, 0, 0).await.unwrap();
    for round in 0..2 {
        let leader = lab.leader().await.unwrap();
        let victim = leader % 3 + 1;
        let old = Sftp::login(lab.sftp_port(victim), "frozen").await.unwrap().expect("login");
        let handle = old.create("/name").await.unwrap();
        old.raw.write(&handle, 0, b"from the frozen node".to_vec()).await.unwrap();
        lab.freeze(victim).await.unwrap();
        // Requests that wait in the frozen server's socket.
        let raw = old.raw.clone();
        let late_handle = handle.clone();
        let late_write = {
            let (raw, handle) = (raw.clone(), handle.clone());
            tokio::spawn(async move { raw.write(handle, 20, vec![1; 1000]).await.is_ok() })
        };
        let late_close = tokio::spawn(async move { raw.close(late_handle).await.is_ok() });

        let new = Sftp::login(lab.sftp_port(leader), "frozen").await.unwrap();
        let new = new.unwrap_or_else(|error| panic!("round {round}: {error:?}\n{}", lab.log_tails()));
        assert!(matches!(new.upload("/name", 50_000, 32768).await, Upload::Stored));
        lab.thaw(victim).unwrap();
        assert!(
            !tokio::time::timeout(Duration::from_secs(70), late_write).await.unwrap().unwrap(),
            "a late WRITE was acknowledged"
        );
        assert!(
            !tokio::time::timeout(Duration::from_secs(70), late_close).await.unwrap().unwrap(),
            "a late CLOSE was acknowledged"
        );
        assert_eq!(
            std::fs::metadata(lab.files().join("frozen/name")).unwrap().len(),
            50_000,
            "the late publish replaced it"
        );
        assert_eq!(new.download("/name").await.unwrap().len(), 50_000);
        new.leave().await;
        lab.until_ready(Duration::from_secs(30)).await.unwrap();
    }
}
