//! Files up and down with OpenSSH's client, byte for byte.

use crate::openssh;
use crate::world::{PASSWORD, World, content};

const SIZE: usize = 64 << 20;

async fn round_trip(extra: &[&str]) {
    let world = World::build().await;
    let (source, target) = (world.scratch("source"), world.scratch("target"));
    std::fs::write(&source, content(SIZE)).unwrap();
    let commands = format!("put {} file\nget file {}\n", source.display(), target.display());
    openssh::run(openssh::sftp(&world, PASSWORD, extra), &commands).await.success();
    assert!(std::fs::read(world.home("file")).unwrap() == content(SIZE), "stored bytes differ");
    assert!(std::fs::read(target).unwrap() == content(SIZE), "downloaded bytes differ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_pass_with_the_clients_own_choices() {
    round_trip(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_pass_with_every_cipher() {
    for cipher in ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"] {
        round_trip(&["-c", cipher]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_requests_at_once_do_not_stall() {
    round_trip(&["-R", "256", "-B", "32768"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_exchanged_again_and_again_without_a_stall() {
    round_trip(&["-o", "RekeyLimit=1M"]).await;
}

#[tokio::test]
async fn the_verbs_of_a_session_work() {
    let world = World::build().await;
    let source = world.scratch("source");
    std::fs::write(&source, "content").unwrap();
    let commands = format!(
        "mkdir folder\nput {} folder/a\nrename folder/a folder/b\nln -s folder/b link\nchmod 600 folder/b\nls -la folder\nrm link\nrm folder/b\nrmdir folder\ndf\n",
        source.display()
    );
    openssh::batch(&world, &commands).await.success();
    assert_eq!(std::fs::read_dir(world.home("")).unwrap().count(), 0);
}
