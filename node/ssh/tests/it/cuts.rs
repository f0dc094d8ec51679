//! Revocation: running, idle and stalled sessions end at once, and nothing new begins on their connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use flotilla_model::{Status, UserPatch};

use crate::world::{PASSWORD, World, eventually};
use crate::{client, openssh};

fn disable(world: &World) {
    world.update(UserPatch { status: Some(Status::Disabled), ..UserPatch::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disabling_ends_an_idle_session_and_no_channel_opens_any_more() {
    let world = World::build().await;
    let client = client::logged_in(&world).await;
    let sftp = client::sftp(&client).await;
    sftp.create("before").await.unwrap();
    disable(&world);
    let start = Instant::now();
    assert!(client.channel_open_session().await.is_err());
    assert!(sftp.create("after").await.is_err());
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(!world.home("after").exists());
    eventually("the slot is back", || world.sessions() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disabling_ends_a_running_upload_and_nothing_of_it_is_visible() {
    let world = World::build().await;
    let source = world.scratch("source");
    let file = std::fs::File::create(&source).unwrap();
    file.set_len(8 << 30).unwrap();
    let mut child = openssh::sftp(&world, PASSWORD, &[]).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut input, format!("put {} big\n", source.display()).as_bytes())
        .await
        .unwrap();
    eventually("the upload runs", || world.sessions() == 1 && staged(&world) > 8 << 20).await;
    disable(&world);
    let start = Instant::now();
    assert!(!openssh::ended(child).await.ok);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    eventually("the slot is back", || world.sessions() == 0).await;
    assert!(!world.home("big").exists());
    assert_eq!(staged(&world), 0);
}

/// Bytes in the staging folders.
fn staged(world: &World) -> u64 {
    let mut sum = 0;
    let mut folders = vec![world.scratch("files/.flotilla")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(data) if data.is_dir() => folders.push(entry.path()),
                Ok(data) if entry.file_name() != "marker" => sum += data.len(),
                _ => {}
            }
        }
    }
    sum
}

/// Relays one client; stops reading from the server when told, and when told again counts what is still to be had.
/// Its port, the port from which it speaks to the server, and that count.
fn relay(server: SocketAddr, stalled: &Arc<AtomicBool>) -> (u16, mpsc::Receiver<u16>, mpsc::Receiver<(usize, bool)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, counted) = mpsc::channel();
    let (tell_port, upstream_port) = mpsc::channel();
    let stalled = Arc::clone(stalled);
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        // What the client's kernel holds is the client's: keep it small.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(8192).unwrap();
        socket.connect(&server.into()).unwrap();
        let mut upstream = TcpStream::from(socket);
        tell_port.send(upstream.local_addr().unwrap().port()).unwrap();
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
        let mut buffer = [0u8; 16 << 10];
        while !stalled.load(Ordering::SeqCst) {
            match upstream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(read) => client.write_all(&buffer[..read]).unwrap(),
            }
        }
        while stalled.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut sum = 0;
        let reset = loop {
            match upstream.read(&mut buffer) {
                Ok(0) => break false,
                Ok(read) => sum += read,
                Err(_) => break true,
            }
        };
        let _ = send.send((sum, reset));
    });
    (port, upstream_port, counted)
}

/// Bytes in the send queue of the loopback socket between two ports, as the kernel's table says.
fn send_queue(local: u16, remote: u16) -> u64 {
    let (local, remote) = (format!(":{local:04X}"), format!(":{remote:04X}"));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut own = rows.filter(|row| row.len() > 4 && row[1].ends_with(&local) && row[2].ends_with(&remote));
    own.next().map_or(0, |row| u64::from_str_radix(row[4].split(':').next().unwrap(), 16).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stopped_reading_gets_nothing_more_after_the_cut() {
    let world = World::build().await;
    openssh::batch(&world, "pwd\n").await.success();
    let file = std::fs::File::create(world.home("big")).unwrap();
    file.set_len(4 << 30).unwrap();
    let stalled = Arc::new(AtomicBool::new(false));
    let (port, upstream, counted) = relay(world.address(), &stalled);
    let target = world.scratch("target");
    let mut command = openssh::sftp_at(&world, port);
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let get = format!("get big {}\n", target.display());
    tokio::io::AsyncWriteExt::write_all(&mut input, get.as_bytes()).await.unwrap();
    eventually("the download runs", || target.metadata().is_ok_and(|data| data.len() > 1 << 20)).await;
    stalled.store(true, Ordering::SeqCst);
    let upstream = upstream.recv_timeout(Duration::from_secs(10)).unwrap();
    let seen = Mutex::new((0, 0));
    eventually("the server's send queue is full: it stays as it is", || {
        let (now, mut seen) = (send_queue(world.address().port(), upstream), seen.lock().unwrap());
        // The kernel's table may leave a row out of one reading while sockets come and go.
        if now > 0 {
            *seen = if now == seen.0 { (now, seen.1 + 1) } else { (now, 0) };
        }
        seen.1 >= 10
    })
    .await;
    disable(&world);
    eventually("the slot is back though the client does not read", || world.sessions() == 0).await;
    stalled.store(false, Ordering::SeqCst);
    let (bytes, reset) =
        tokio::task::spawn_blocking(move || counted.recv_timeout(Duration::from_secs(10)).unwrap()).await.unwrap();
    assert!(reset, "the end must not look like a normal one");
    assert!(bytes < 64 << 10, "{bytes} bytes came after the cut");
}
