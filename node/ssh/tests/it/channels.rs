//! What may be asked for on a connection, and what not.

use std::time::Duration;

use russh::ChannelMsg;
use russh::client::Msg;

use crate::world::World;
use crate::{client, openssh};

/// Waits for the answer to the last request.
async fn answer(channel: &mut russh::Channel<Msg>) -> bool {
    let next = async {
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return true,
                Some(ChannelMsg::Failure) => return false,
                Some(_) => {}
                None => panic!("the channel ended"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), next).await.expect("requests are answered")
}

#[tokio::test]
async fn the_eleventh_channel_is_refused_and_a_closed_one_makes_room() {
    let world = World::build().await;
    let client = client::logged_in(&world).await;
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(client.channel_open_session().await.unwrap());
    }
    assert!(client.channel_open_session().await.is_err());
    open.pop().unwrap().close().await.unwrap();
    assert!(client.channel_open_session().await.is_ok());
}

#[tokio::test]
async fn a_second_subsystem_on_a_channel_is_refused_and_the_first_goes_on() {
    let world = World::build().await;
    let client = client::logged_in(&world).await;
    let mut channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    assert!(answer(&mut channel).await);
    channel.request_subsystem(true, "sftp").await.unwrap();
    assert!(!answer(&mut channel).await);
    let sftp = russh_sftp::client::SftpSession::new(channel.into_stream()).await.unwrap();
    assert_eq!(sftp.canonicalize(".").await.unwrap(), "/");
}

#[tokio::test]
async fn everything_but_sftp_is_refused() {
    let world = World::build().await;
    let client = client::logged_in(&world).await;
    let mut channel = client.channel_open_session().await.unwrap();
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    assert!(!answer(&mut channel).await);
    channel.request_x11(true, false, "MIT-MAGIC-COOKIE-1", "00", 0).await.unwrap();
    assert!(!answer(&mut channel).await);
    channel.set_env(true, "LANG", "C").await.unwrap();
    assert!(!answer(&mut channel).await);
    channel.agent_forward(true).await.unwrap();
    assert!(!answer(&mut channel).await);
    channel.request_subsystem(true, "netconf").await.unwrap();
    assert!(!answer(&mut channel).await);
    assert!(client.channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 1).await.is_err());
    assert!(client.tcpip_forward("127.0.0.1", 0).await.is_err());
    for command in [&["id"][..], &[]] {
        let said = openssh::run(openssh::ssh(&world, command), "").await;
        assert!(!said.ok && said.err.contains("sftp connections only"), "{}", said.err);
    }
}

#[tokio::test]
async fn channels_of_one_connection_serve_side_by_side_and_take_a_slot_each() {
    let world = World::build().await;
    world.update(flotilla_model::UserPatch { max_sessions: Some(3), ..Default::default() });
    let client = client::logged_in(&world).await;
    let sessions = [client::sftp(&client).await, client::sftp(&client).await, client::sftp(&client).await];
    for sftp in &sessions {
        assert_eq!(sftp.canonicalize("a/../b").await.unwrap(), "/b");
    }
    let mut fourth = client.channel_open_session().await.unwrap();
    fourth.request_subsystem(true, "sftp").await.unwrap();
    assert!(!answer(&mut fourth).await);
    drop(sessions);
    let again = async {
        loop {
            let mut channel = client.channel_open_session().await.unwrap();
            channel.request_subsystem(true, "sftp").await.unwrap();
            if answer(&mut channel).await {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("closed channels leave their slots");
}

#[tokio::test]
async fn a_broken_frame_closes_its_channel_and_nothing_else() {
    let world = World::build().await;
    let client = client::logged_in(&world).await;
    let other = client::sftp(&client).await;
    let mut channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    assert!(answer(&mut channel).await);
    channel.data(&[0xff, 0xff, 0xff, 0xff, 1][..]).await.unwrap();
    let closed = async {
        while let Some(message) = channel.wait().await {
            if matches!(message, ChannelMsg::Close) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("the channel is closed");
    assert_eq!(other.canonicalize("x").await.unwrap(), "/x");
}
