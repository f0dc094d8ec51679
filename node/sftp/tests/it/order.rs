//! What may run at the same time and what waits for what.

use crate::fixtures::{packet, rig::Rig};

const READ: u32 = 1;
const WRITE: u32 = 2;
const APPEND: u32 = 4;

#[tokio::test]
async fn a_slow_read_does_not_keep_a_later_one_waiting() {
    let mut rig = Rig::new().await;
    let handle = rig.open("a", READ).await;
    rig.gates.hold("read a 0");
    rig.feed(&packet::read(1, &handle, 0, 10)).await;
    rig.feed(&packet::read(2, &handle, 10, 10)).await;
    assert_eq!(rig.reply_to(2).await.data().len(), 10);
    rig.gates.release("read a 0");
    assert_eq!(rig.reply_to(1).await.data().len(), 10);
}

#[tokio::test]
async fn writes_that_do_not_overlap_run_together() {
    let mut rig = Rig::new().await;
    let handle = rig.open("a", WRITE).await;
    rig.gates.hold("write a 0");
    rig.feed(&packet::write(1, &handle, 0, b"0123456789")).await;
    rig.feed(&packet::write(2, &handle, 10, b"0123456789")).await;
    assert_eq!(rig.reply_to(2).await.code(), 0);
    rig.gates.release("write a 0");
    assert_eq!(rig.reply_to(1).await.code(), 0);
}

#[tokio::test]
async fn overlapping_writes_and_reads_of_what_is_written_keep_their_order() {
    let mut rig = Rig::new().await;
    let handle = rig.open("a", READ | WRITE).await;
    rig.gates.hold("write a 0");
    rig.feed(&packet::write(1, &handle, 0, b"0123456789")).await;
    rig.feed(&packet::write(2, &handle, 9, b"x")).await;
    rig.feed(&packet::read(3, &handle, 5, 10)).await;
    rig.settle().await;
    assert!(!rig.gates.has("begin write a 9") && !rig.gates.has("begin read a 5"));
    rig.gates.release("write a 0");
    for id in [1, 2, 3] {
        rig.reply_to(id).await;
    }
    assert!(rig.gates.place("end write a 0") < rig.gates.place("begin write a 9"));
    assert!(rig.gates.place("end write a 9") < rig.gates.place("begin read a 5"));
}

#[tokio::test]
async fn an_append_handle_writes_one_at_a_time() {
    let mut rig = Rig::new().await;
    let handle = rig.open("a", WRITE | APPEND).await;
    rig.gates.hold("write a 0");
    rig.feed(&packet::write(1, &handle, 0, b"x")).await;
    rig.feed(&packet::write(2, &handle, 100, b"y")).await;
    rig.settle().await;
    assert!(!rig.gates.has("begin write a 100"));
    rig.gates.release("write a 0");
    rig.reply_to(1).await;
    rig.reply_to(2).await;
}

#[tokio::test]
async fn stat_sync_and_close_of_a_handle_wait_for_its_writes() {
    let mut rig = Rig::new().await;
    let handle = rig.open("a", WRITE).await;
    rig.gates.hold("write a 0");
    rig.feed(&packet::write(1, &handle, 0, b"x")).await;
    rig.feed(&packet::handle_stat(2, &handle)).await;
    rig.feed(&packet::extended(3, "fsync@openssh.com", &[&packet::string(&handle)])).await;
    rig.feed(&packet::write(4, &handle, 50, b"y")).await;
    rig.feed(&packet::close(5, &handle)).await;
    rig.settle().await;
    assert!(!rig.gates.log().iter().any(|line| line.contains("fstat") || line.contains("write a 50")));
    rig.gates.release("write a 0");
    for id in [1, 2, 3, 4, 5] {
        rig.reply_to(id).await;
    }
    let order = ["end write a 0", "begin fstat a", "begin sync a", "begin write a 50", "begin close a"];
    let places: Vec<usize> = order.iter().map(|line| rig.gates.place(line)).collect();
    assert!(places.is_sorted(), "{:?}", rig.gates.log());
}

#[tokio::test]
async fn path_operations_keep_their_order() {
    let mut rig = Rig::new().await;
    rig.gates.hold("make_dir a");
    rig.feed(&packet::make_dir(1, "a")).await;
    rig.feed(&packet::open(2, "a/b", WRITE)).await;
    rig.feed(&packet::stat(3, "x")).await;
    rig.gates.wait_for("begin make_dir a").await;
    tokio::task::yield_now().await;
    assert_eq!(rig.gates.log(), ["begin make_dir a"]);
    rig.gates.release("make_dir a");
    for id in [1, 2, 3] {
        rig.reply_to(id).await;
    }
}

#[tokio::test]
async fn a_rename_waits_for_the_pipelined_close_of_what_it_renames() {
    let mut rig = Rig::new().await;
    let handle = rig.open("d/./new.part", WRITE).await;
    rig.gates.hold("write d/./new.part 0");
    rig.feed(&packet::write(1, &handle, 0, b"x")).await;
    rig.feed(&packet::close(2, &handle)).await;
    rig.feed(&packet::rename(3, "/d/new.part", "/d/new")).await;
    rig.gates.wait_for("begin write d/./new.part 0").await;
    tokio::task::yield_now().await;
    assert!(!rig.gates.has("begin rename /d/new.part /d/new"));
    rig.gates.release("write d/./new.part 0");
    for id in [1, 2, 3] {
        assert_eq!(rig.reply_to(id).await.code(), 0);
    }
    assert!(rig.gates.place("end close d/./new.part") < rig.gates.place("begin rename /d/new.part /d/new"));
}

#[tokio::test]
async fn an_operation_on_a_folder_waits_for_closes_below_it_and_on_another_path_for_none() {
    let mut rig = Rig::new().await;
    let handle = rig.open("/d/f", WRITE).await;
    rig.gates.hold("close /d/f");
    rig.feed(&packet::close(1, &handle)).await;
    rig.feed(&packet::stat(2, "/dx")).await;
    rig.reply_to(2).await;
    rig.feed(&packet::open_dir(3, "/d")).await;
    rig.gates.wait_for("begin close /d/f").await;
    tokio::task::yield_now().await;
    assert!(!rig.gates.has("begin open_dir /d"));
    rig.gates.release("close /d/f");
    rig.reply_to(1).await;
    rig.reply_to(3).await.handle();
}

#[tokio::test]
async fn a_path_operation_does_not_wait_for_what_came_after_it() {
    let mut rig = Rig::new().await;
    let handle = rig.open("a", WRITE).await;
    rig.gates.hold("stat x");
    rig.gates.hold("close a");
    rig.feed(&packet::stat(1, "x")).await;
    rig.feed(&packet::stat(2, "a")).await;
    rig.feed(&packet::close(3, &handle)).await;
    rig.gates.release("stat x");
    rig.reply_to(1).await;
    rig.reply_to(2).await;
    rig.gates.release("close a");
    rig.reply_to(3).await;
}

#[tokio::test]
async fn sixty_four_reads_are_answered_while_another_handles_write_stands_still() {
    let mut rig = Rig::new().await;
    let stalled = rig.open("stalled", WRITE).await;
    let handle = rig.open("a", READ).await;
    rig.gates.hold("write stalled 0");
    rig.feed(&packet::write(1, &stalled, 0, b"x")).await;
    let reads: Vec<u8> = (0..64).flat_map(|n| packet::read(100 + n, &handle, u64::from(n) * 10, 10)).collect();
    rig.feed(&reads).await;
    for _ in 0..64 {
        assert_eq!(rig.reply().await.data().len(), 10);
    }
    rig.gates.release("write stalled 0");
    rig.reply_to(1).await;
}

#[tokio::test]
async fn the_running_jobs_are_bounded() {
    let mut rig = Rig::new().await;
    let handle = rig.open("a", READ).await;
    for n in 0..70 {
        rig.gates.hold(&format!("read a {n}"));
        rig.feed(&packet::read(n, &handle, u64::from(n), 1)).await;
    }
    rig.gates.wait_for("begin read a 63").await;
    tokio::task::yield_now().await;
    assert!(!rig.gates.has("begin read a 64"));
    for n in 0..70 {
        rig.gates.wait_for(&format!("begin read a {n}")).await;
        rig.gates.release(&format!("read a {n}"));
        rig.reply_to(n).await;
    }
}

#[tokio::test]
async fn symlink_takes_the_target_first() {
    let mut rig = Rig::new().await;
    rig.feed(&packet::packet(20, 1, &[&packet::string(b"points/here"), &packet::string(b"name")])).await;
    assert_eq!(rig.reply_to(1).await.code(), 0);
    assert!(rig.gates.has("end symlink target=points/here link=name"));
}
