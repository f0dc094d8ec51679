//! Version 3 of the protocol, request by request, through a real node and through OpenSSH's `sftp-server`: the same answers.

use std::path::Path;
use std::process::Stdio;

use flotilla_jepsen::client::{Sftp, Upload};
use flotilla_jepsen::lab::Lab;
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error;
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, StatusCode};

const MIB: u64 = 1 << 20;
const SERVER: &str = "/usr/lib/openssh/sftp-server";

/// OpenSSH's server in a folder, spoken to over its pipes.
async fn openssh(folder: &Path) -> (tokio::process::Child, RawSftpSession) {
    let mut server = tokio::process::Command::new(SERVER)
        .args(["-e", "-l", "QUIET", "-d"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("OpenSSH's sftp-server is needed: make test-needs installs it");
    let pipes = tokio::io::join(server.stdout.take().unwrap(), server.stdin.take().unwrap());
    let raw = RawSftpSession::new(pipes);
    raw.set_timeout(20);
    raw.init().await.unwrap();
    (server, raw)
}

/// What was asked, and what came of it, in words that do not depend on the server's folder.
#[derive(Default)]
struct Told(Vec<(String, String)>);

impl Told {
    fn note<T>(&mut self, asked: &str, answer: Result<T, Error>, shown: impl FnOnce(&T) -> String) -> Option<T> {
        let (text, kept) = match answer {
            Ok(value) => (shown(&value), Some(value)),
            Err(error) => (status(&error), None),
        };
        self.0.push((asked.to_owned(), text));
        kept
    }

    fn done<T>(&mut self, asked: &str, answer: Result<T, Error>) -> Option<T> {
        self.note(asked, answer, |_| "Ok".to_owned())
    }
}

fn status(error: &Error) -> String {
    match error {
        Error::Status(status) => format!("{:?}", status.status_code),
        other => panic!("no answer: {other}"),
    }
}

fn attributes(attrs: &FileAttributes) -> String {
    let kind = attrs.permissions.map(|mode| mode & 0o170_000);
    // Folders and links have sizes of the file system's own.
    let size = attrs.size.filter(|_| kind == Some(0o100_000));
    format!(
        "size {size:?} mode {:?} mtime {}",
        attrs.permissions.map(|mode| format!("{mode:o}")),
        attrs.mtime.is_some()
    )
}

const NEW: OpenFlags = OpenFlags::WRITE.union(OpenFlags::CREATE).union(OpenFlags::TRUNCATE);

async fn write(raw: &RawSftpSession, path: &str, content: &[u8]) {
    let handle = raw.open(path, NEW, FileAttributes::empty()).await.unwrap().handle;
    raw.write(&handle, 0, content.to_vec()).await.unwrap();
    raw.close(handle).await.unwrap();
}

/// The content of a file, if there is one.
async fn content(raw: &RawSftpSession, path: &str) -> Result<Vec<u8>, Error> {
    let handle = raw.open(path, OpenFlags::READ, FileAttributes::empty()).await?.handle;
    let read = raw.read(&handle, 0, 32_768).await;
    raw.close(handle).await?;
    match read {
        Ok(data) => Ok(data.data),
        Err(Error::Status(status)) if status.status_code == StatusCode::Eof => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Opens a file that is there or not, writes and reads as the flags allow, closes; what came of each step and what is left.
async fn open_with(told: &mut Told, raw: &RawSftpSession, flags: OpenFlags, there: bool) {
    let name = format!("flags{}{there}", flags.bits());
    if there {
        write(raw, &name, b"0123456789").await;
    }
    let what = format!("{:06b} of a file that is {}there", flags.bits(), if there { "" } else { "not " });
    if let Some(open) = told.done(&what, raw.open(&name, flags, FileAttributes::empty()).await) {
        if flags.intersects(OpenFlags::WRITE | OpenFlags::APPEND) {
            told.done(&format!("{what}: write"), raw.write(&open.handle, 2, b"AB".to_vec()).await);
        }
        if flags.contains(OpenFlags::READ) {
            told.note(&format!("{what}: read"), raw.read(&open.handle, 0, 4).await, |data| format!("{:?}", data.data));
        }
        told.done(&format!("{what}: close"), raw.close(open.handle).await);
    }
    let left = content(raw, &name).await;
    told.note(&format!("{what}: what is left"), left, |left| String::from_utf8_lossy(left).into_owned());
    if left_behind(told) {
        raw.remove(&name).await.unwrap();
    }
}

fn left_behind(told: &Told) -> bool {
    told.0.last().is_some_and(|(_, left)| left != "NoSuchFile")
}

fn every_combination() -> impl Iterator<Item = (OpenFlags, bool)> {
    let flags = (0..=OpenFlags::all().bits()).filter_map(OpenFlags::from_bits);
    flags.flat_map(|flags| [(flags, false), (flags, true)])
}

/// Whether the flags mean what they say: without WRITE there is nothing to make, cut or append to.
fn is_sound(flags: OpenFlags) -> bool {
    flags.contains(OpenFlags::WRITE) || OpenFlags::READ.contains(flags)
}

async fn every_flag(raw: &RawSftpSession) -> Told {
    let mut told = Told::default();
    for (flags, there) in every_combination().filter(|(flags, _)| is_sound(*flags)) {
        open_with(&mut told, raw, flags, there).await;
    }
    told
}

/// What OpenSSH does without WRITE all the same, we do not: APPEND means it, and CREATE, TRUNCATE and EXCLUDE alone are refused.
async fn unsound_flags(raw: &RawSftpSession) {
    for (flags, there) in every_combination().filter(|(flags, _)| !is_sound(*flags)) {
        let (mut told, mut sound) = (Told::default(), Told::default());
        open_with(&mut told, raw, flags, there).await;
        let answers = |told: Told| told.0.into_iter().map(|(_, answer)| answer).collect::<Vec<_>>();
        if flags.contains(OpenFlags::APPEND) {
            open_with(&mut sound, raw, flags | OpenFlags::WRITE, there).await;
            assert_eq!(answers(told), answers(sound), "{flags:?}, there {there}");
        } else {
            let untouched = if there { "0123456789" } else { "NoSuchFile" };
            assert_eq!(answers(told), ["Failure", untouched], "{flags:?}, there {there}");
        }
    }
}

async fn attributes_and_links(raw: &RawSftpSession) -> Told {
    let mut told = Told::default();
    let none = FileAttributes::empty;
    told.done("mkdir", raw.mkdir("d", none()).await);
    told.done("mkdir of what is there", raw.mkdir("d", none()).await);
    let open = told.done("open", raw.open("d/f", NEW, none()).await).unwrap().handle;
    // Out of order, with a hole.
    told.done("write far out", raw.write(&open, 20_000, vec![3; 100]).await);
    told.done("write", raw.write(&open, 0, vec![1; 10_000]).await);
    told.note("fstat", raw.fstat(&open).await, |file| format!("{:?}", file.attrs.size));
    told.done("fsetstat of the size", raw.fsetstat(&open, FileAttributes { size: Some(15_000), ..none() }).await);
    told.note("fstat of what was cut", raw.fstat(&open).await, |file| format!("{:?}", file.attrs.size));
    told.done("fsync", raw.fsync(&open).await);
    told.done("close", raw.close(&open).await);
    told.done("close again", raw.close(&open).await);
    told.done("fstat of no handle", raw.fstat(&open).await);
    told.done("fsync of no handle", raw.fsync(&open).await);
    let hole = content(raw, "d/f").await.unwrap();
    told.0.push(("the hole".into(), format!("{} {:?}", hole.len(), &hole[9_998..10_002])));

    let times = FileAttributes { atime: Some(1_000_000_000), mtime: Some(1_100_000_000), ..none() };
    told.done("setstat of the times", raw.setstat("d/f", times).await);
    told.note("stat of the times", raw.stat("d/f").await, |file| format!("{:?}", file.attrs.mtime));
    told.done("setstat of the mode", raw.setstat("d/f", FileAttributes { permissions: Some(0o640), ..none() }).await);
    told.done("setstat of the size", raw.setstat("d/f", FileAttributes { size: Some(12), ..none() }).await);
    told.note("stat", raw.stat("d/f").await, |file| attributes(&file.attrs));
    told.done("setstat of what is not there", raw.setstat("d/no", FileAttributes { size: Some(1), ..none() }).await);

    // OpenSSH takes the target first.
    told.done("symlink", raw.symlink("f", "d/link").await);
    told.done("symlink to nowhere", raw.symlink("nowhere", "d/dangling").await);
    told.done("symlink over a name", raw.symlink("f", "d/f").await);
    let name = |name: &russh_sftp::protocol::Name| name.files[0].filename.clone();
    told.note("readlink", raw.readlink("d/link").await, name);
    told.note("readlink of a dangling one", raw.readlink("d/dangling").await, name);
    told.done("readlink of a file", raw.readlink("d/f").await);
    told.done("readlink of what is not there", raw.readlink("d/no").await);
    let kind = |file: &russh_sftp::protocol::Attrs| format!("{:o}", file.attrs.permissions.unwrap_or(0) & 0o170_000);
    told.note("lstat of a link", raw.lstat("d/link").await, kind);
    told.note("stat of a link", raw.stat("d/link").await, |file| attributes(&file.attrs));
    told.note("lstat of a dangling link", raw.lstat("d/dangling").await, kind);
    told.done("stat of a dangling link", raw.stat("d/dangling").await);
    told.note("lstat of a file", raw.lstat("d/f").await, |file| attributes(&file.attrs));
    told.done("lstat of what is not there", raw.lstat("d/no").await);
    told.note("lstat of a folder", raw.lstat("d").await, kind);
    told
}

async fn names(raw: &RawSftpSession) -> Told {
    let mut told = Told::default();
    let none = FileAttributes::empty;
    raw.mkdir("n", none()).await.unwrap();
    raw.mkdir("n/inner", none()).await.unwrap();
    write(raw, "n/a", b"a").await;
    write(raw, "n/b", b"b").await;
    told.done("rename over a name", raw.rename("n/a", "n/b").await);
    told.note("what it left", content(raw, "n/b").await, |left| format!("{left:?}"));
    let text = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
    let posix = raw.extended("posix-rename@openssh.com", [text("n/a"), text("n/b")].concat()).await.unwrap();
    let Packet::Status(answer) = posix else { panic!("{posix:?}") };
    told.0.push(("posix-rename over a name".into(), format!("{:?}", answer.status_code)));
    told.note("what posix-rename left", content(raw, "n/b").await, |left| format!("{left:?}"));
    told.done("the old name", raw.stat("n/a").await);
    told.done("rename of what is not there", raw.rename("n/no", "n/c").await);
    told.done("rename", raw.rename("n/b", "n/c").await);
    told.done("rename of a folder", raw.rename("n/inner", "n/moved").await);
    told.done("remove of a folder", raw.remove("n/moved").await);
    told.done("rmdir of a file", raw.rmdir("n/c").await);
    told.done("rmdir of what is not empty", raw.rmdir("n").await);
    told.done("rmdir of what is not there", raw.rmdir("n/no").await);
    told.done("remove of what is not there", raw.remove("n/no").await);

    let handle = told.done("opendir", raw.opendir("n").await).unwrap().handle;
    let mut listed = Vec::new();
    while let Ok(batch) = raw.readdir(&handle).await {
        listed.extend(batch.files.into_iter().map(|file| file.filename));
    }
    listed.sort();
    told.0.push(("readdir".into(), format!("{listed:?}")));
    told.done("readdir at the end", raw.readdir(&handle).await);
    told.done("close of a folder", raw.close(&handle).await);
    told.done("readdir of no handle", raw.readdir(&handle).await);
    told.done("opendir of a file", raw.opendir("n/c").await);
    told.done("opendir of what is not there", raw.opendir("n/no").await);

    let base = raw.realpath(".").await.unwrap().files[0].filename.clone();
    for path in ["n", "n/../n/./c", "n//c", "../n/c", "n/no"] {
        // What is above a home differs.
        if path.starts_with("..") && base != "/" {
            continue;
        }
        told.note(&format!("realpath of {path}"), raw.realpath(path).await, |name| {
            let own = &name.files[0].filename;
            own.strip_prefix(base.trim_end_matches('/')).unwrap_or(own).to_owned()
        });
    }
    let reads = raw.open("n/c", OpenFlags::READ, none()).await.unwrap().handle;
    told.note("read beyond the end", raw.read(&reads, 100, 10).await, |data| format!("{:?}", data.data));
    told.note("read up to the end", raw.read(&reads, 0, 10).await, |data| format!("{:?}", data.data));
    let written = raw.open("n/c", OpenFlags::READ, none()).await.unwrap().handle;
    told.done("write to a handle that reads", raw.write(&written, 0, vec![1]).await);
    // As after every WRITE that failed, CLOSE fails here; OpenSSH's does not.
    let _ = raw.close(written).await;
    told.done("readdir of a file's handle", raw.readdir(&reads).await);
    told.done("close", raw.close(&reads).await);
    told.done("read of no handle", raw.read(&reads, 0, 10).await);
    told.done("write to no handle", raw.write(&reads, 0, vec![1]).await);
    told.done("remove", raw.remove("n/c").await);
    told.done("rmdir", raw.rmdir("n/moved").await);
    told.done("rmdir of the rest", raw.rmdir("n").await);
    told
}

/// OpenSSH has codes of errno for what is no handle and no folder (NoSuchFile) or no link (BadMessage): this server says Failure, which
/// nobody takes for a missing file.
fn is_otherwise(asked: &str, own: &str, other: &str) -> bool {
    let about = ["no handle", "again", "of a file", "handle that reads"];
    // Of an OPEN, and of what is done behind it, nothing is excused.
    let opens = asked.contains("of a file that is ");
    let excused = !opens && about.iter().any(|what| asked.contains(what));
    own == "Failure" && ["NoSuchFile", "BadMessage"].contains(&other) && excused
}

/// What differs, and how many answers were compared.
fn compared(ours: Told, theirs: Told) -> (Vec<String>, usize) {
    let theirs: std::collections::BTreeMap<String, String> = theirs.0.into_iter().collect();
    let (mut differ, mut compared) = (Vec::new(), 0);
    for (asked, own) in ours.0 {
        // What lies above a home is asked of ours only.
        let Some(other) = theirs.get(&asked) else { continue };
        compared += 1;
        if own != *other && !is_otherwise(&asked, &own, other) {
            differ.push(format!("{asked}: {own}, OpenSSH: {other}"));
        }
    }
    (differ, compared)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_of_version_3_is_answered_as_openssh_s_server_answers_it() {
    let lab = Lab::start(1).await.unwrap();
    lab.user("verbs", 0, 0, 0).await.unwrap();
    let session = Sftp::login(lab.sftp_port(1), "verbs").await.unwrap().expect("login");
    let folder = tempfile::tempdir().unwrap();
    let (_server, theirs) = openssh(folder.path()).await;
    unsound_flags(&session.raw).await;
    let own = [every_flag(&session.raw).await, attributes_and_links(&session.raw).await, names(&session.raw).await];
    let others = [every_flag(&theirs).await, attributes_and_links(&theirs).await, names(&theirs).await];
    let (mut differ, mut all) = (Vec::new(), 0);
    for (own, other) in own.into_iter().zip(others) {
        let (found, compared) = compared(own, other);
        (differ, all) = ([differ, found].concat(), all + compared);
    }
    assert!(differ.is_empty(), "{} of {all}:\n{}", differ.len(), differ.join("\n"));
    assert!(all > 300, "{all} answers were compared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statvfs_shows_the_quota_of_all_nodes_and_limits_and_fsync_are_served() {
    let lab = Lab::start(3).await.unwrap();
    lab.user("quota", 0, 10 * MIB, 20).await.unwrap();
    let one = Sftp::login(lab.sftp_port(1), "quota").await.unwrap().expect("login");
    let shown = async |sftp: &Sftp| {
        let shown = sftp.raw.statvfs("/").await.unwrap();
        let bytes = |blocks: u64| blocks * shown.fragment_size;
        (bytes(shown.blocks), bytes(shown.blocks_avail), shown.inodes, shown.inodes_avail)
    };
    assert_eq!(shown(&one).await, (10 * MIB, 10 * MIB, 20, 20));
    assert!(matches!(one.upload("/three", 3 * MIB, 32768).await, Upload::Stored));
    // What was granted ahead is on its way to the node for a moment.
    lab.until(std::time::Duration::from_secs(10), "what is left is shown", async || {
        Ok(shown(&one).await == (10 * MIB, 7 * MIB, 20, 19))
    })
    .await
    .unwrap();
    // Through another node: the same quota, and never more than what is left.
    let other = Sftp::login(lab.sftp_port(2), "quota").await.unwrap().expect("login");
    let (bytes, free, files, free_files) = shown(&other).await;
    assert_eq!((bytes, files), (10 * MIB, 20));
    assert!(free <= 7 * MIB && free_files <= 19, "{free} bytes, {free_files} files");
    one.leave().await;
    lab.until(std::time::Duration::from_secs(10), "what the first held is back", async || {
        Ok(shown(&other).await == (10 * MIB, 7 * MIB, 20, 19))
    })
    .await
    .unwrap();
    let handle = other.create("/synced").await.unwrap();
    other.raw.write(&handle, 0, vec![1; 1000]).await.unwrap();
    other.raw.fsync(&handle).await.expect("fsync");
    other.raw.close(handle).await.unwrap();
    let limits = other.raw.limits().await.unwrap();
    assert!(
        limits.max_write_len >= 32_768 && limits.max_read_len >= 32_768 && limits.max_open_handles > 0,
        "{limits:?}"
    );
    assert!(limits.max_packet_len > limits.max_write_len, "{limits:?}");
}
