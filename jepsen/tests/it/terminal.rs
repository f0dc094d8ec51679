//! The command line where people sit: what follows goes on, what takes long is drawn on a terminal and only there, and a cluster
//! without a quorum has an exit code of its own.

use std::process::Stdio;
use std::time::Duration;

use flotilla_jepsen::lab::{Lab, binary};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(60);

fn command(lab: &Lab, node: usize, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("FLOTILLA_ENDPOINT", format!("http://127.0.0.1:{}", lab.admin_port(node)))
        .env("FLOTILLA_TOKEN", lab.admin_token().unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn flotilla(lab: &Lab, node: usize, words: &[&str]) -> Command {
    let mut command = command(lab, node, binary().unwrap().to_str().unwrap());
    command.args(words);
    command
}

/// A verb that goes on, read by line.
struct Follower {
    _process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn start(lab: &Lab, words: &[&str]) -> Follower {
        let mut process = flotilla(lab, 1, words).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Follower { _process: process, lines }
    }

    async fn until(&mut self, what: &str, is: impl Fn(&str) -> bool) {
        let found = timeout(SOON, async {
            loop {
                let line = self.lines.next_line().await.unwrap().unwrap_or_else(|| panic!("{what}: it ended"));
                if is(&line) {
                    return;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("{what} does not come"));
    }
}

/// Exit code, standard output, standard error.
async fn run(lab: &Lab, words: &[&str]) -> (i32, String, String) {
    let done = timeout(SOON, flotilla(lab, 1, words).output()).await.expect("it ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// Reads what a program writes on its terminal until that is there.
async fn drawn(out: &mut ChildStdout, text: &mut String, what: &str) {
    let mut buffer = [0; 4096];
    let found = timeout(SOON, async {
        while !text.contains(what) {
            let length = out.read(&mut buffer).await.unwrap();
            assert!(length > 0, "{what:?} was never drawn: {text:?}");
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    });
    found.await.unwrap_or_else(|_| panic!("{what:?} is not drawn"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_goes_on_what_takes_long_is_drawn_and_no_quorum_is_code_5() {
    let mut lab = Lab::start(3).await.unwrap();
    let mut events = Follower::start(&lab, &["events", "--follow", "--since", "0"]);
    let mut status = Follower::start(&lab, &["cluster", "status", "--watch"]);
    events.until("the first user", |line| line.contains("user_created") && line.contains("user demo")).await;
    lab.user("late", 0, 0, 0).await.unwrap();
    events.until("a later user", |line| line.contains("user_created") && line.contains("user late")).await;

    let third = |line: &str, state: &str| line.starts_with("3 ") && line.contains(state);
    status.until("node 3", |line| third(line, "alive")).await;
    lab.kill(3).unwrap();
    status.until("its end", |line| third(line, "down")).await;
    events.until("its end", |line| line.contains("node_down")).await;

    // Without a terminal nothing is drawn.
    let (code, out, said) = run(&lab, &["cluster", "wait", "3", "--timeout", "2"]).await;
    assert_eq!((code, out.as_str()), (1, ""), "{said}");
    assert!(said.contains("node 3 is not ready after 2 s") && !said.contains(['\r', '\x1b']), "{said:?}");

    let line = format!("{} cluster wait 3 --timeout 60", binary().unwrap().display());
    let mut typed = command(&lab, 1, "script");
    let mut typed = typed.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]).spawn().unwrap();
    let (mut out, mut text) = (typed.stdout.take().unwrap(), String::new());
    drawn(&mut out, &mut text, "\rnode 3: known, without a lease [").await;
    drawn(&mut out, &mut text, "log entries\x1b[K").await;
    lab.restart(3).await.unwrap();
    drawn(&mut out, &mut text, "node 3 is a voter").await;
    let (bar, end) = text.split_at(text.rfind("node 3 is a voter").unwrap());
    assert!(bar.ends_with("\r\x1b[K"), "the bar is gone before the answer: {bar:?}");
    assert!(!end.contains('\x1b'), "{end:?}");
    assert_eq!(timeout(SOON, typed.wait()).await.expect("it ends").unwrap().code(), Some(0));
    status.until("its return", |line| third(line, "alive")).await;

    lab.kill(2).unwrap();
    lab.kill(3).unwrap();
    let (code, out, said) = run(&lab, &["user", "list"]).await;
    assert_eq!((code, out.as_str()), (5, ""), "{said}");
    let (code, _, said) = run(&lab, &["quota", "scan", "late"]).await;
    assert_eq!(code, 5, "{said}");
    let (code, out, said) = run(&lab, &["cluster", "status"]).await;
    assert_eq!(code, 0, "an operator needs it most then: {said}");
    assert!(out.contains("node"), "{out}");
}
