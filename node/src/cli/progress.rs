//! Progress on stderr: a bar on a terminal once something takes longer than a second, otherwise a line when what is waited for
//! changes. Data stays alone on stdout.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use flotilla_proto::admin::v1;

use super::failure::Failure;

/// What is over sooner needs no bar.
const QUIET: Duration = Duration::from_secs(1);
/// Between two drawings.
const DRAW: Duration = Duration::from_millis(100);
const WIDTH: usize = 24;

/// Shown while something goes on; gone when it is dropped.
pub(crate) struct Bar {
    /// Of what.
    what: String,
    began: Instant,
    drawn: Option<Instant>,
    terminal: bool,
    /// The last line that was said without a terminal.
    said: String,
}

impl Bar {
    pub(crate) fn new(what: impl Into<String>) -> Bar {
        let terminal = std::io::stderr().is_terminal();
        Bar { what: what.into(), began: Instant::now(), drawn: None, terminal, said: String::new() }
    }

    /// `total` 0: not known.
    pub(crate) fn show(&mut self, progress: &v1::Progress) {
        if !self.terminal {
            return self.say(progress);
        }
        let soon = self.drawn.is_some_and(|drawn| drawn.elapsed() < DRAW);
        if self.began.elapsed() < QUIET || soon {
            return;
        }
        self.drawn = Some(Instant::now());
        // To the line's beginning; the rest of an older, longer line is erased.
        eprint!("\r{}\x1b[K", line(&self.what, progress));
        let _ = std::io::stderr().flush();
    }

    pub(crate) fn bytes(&mut self, stage: &str, done: u64, total: u64) {
        self.show(&v1::Progress { stage: stage.into(), done, total, unit: "bytes".into(), ..Default::default() });
    }

    fn say(&mut self, progress: &v1::Progress) {
        if !progress.waits_for.is_empty() && progress.waits_for != self.said {
            eprintln!("waiting: {}", progress.waits_for);
            self.said.clone_from(&progress.waits_for);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

/// One line without its end.
fn line(what: &str, progress: &v1::Progress) -> String {
    let v1::Progress { stage, done, total, unit, waits_for, .. } = progress;
    let amount = |number: u64| if unit == "bytes" { bytes(number) } else { number.to_string() };
    let words = if unit == "bytes" { String::new() } else { format!(" {unit}") };
    let bar = match total {
        0 => format!("{}{words}", amount(*done)),
        total => {
            let full = (done.min(total) * WIDTH as u64 / total) as usize;
            let percent = done.min(total) * 100 / total;
            let (done, all) = (amount(*done), amount(*total));
            format!("[{}{}] {percent:3} % {done}/{all}{words}", "#".repeat(full), "-".repeat(WIDTH - full))
        }
    };
    let waits = if waits_for.is_empty() { String::new() } else { format!(" (waits for {waits_for})") };
    format!("{what}: {stage}{waits} {bar}")
}

fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let (mut shown, mut unit) = (number as f64, 0);
    while shown >= 1024.0 && unit + 1 < UNITS.len() {
        (shown, unit) = (shown / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{number} B") } else { format!("{shown:.1} {}", UNITS[unit]) }
}

/// Shows a stream until it has ended, for at most so long. `None`: it went on.
pub(super) async fn follow(
    what: &str,
    mut told: tonic::Streaming<v1::Progress>,
    wait: Duration,
) -> Result<Followed, Failure> {
    let mut bar = Bar::new(what);
    let mut last = v1::Progress::default();
    let end = tokio::time::Instant::now() + wait;
    loop {
        // A message comes when something changes; the time goes on without.
        let next = tokio::time::timeout_at(end.min(tokio::time::Instant::now() + QUIET), told.message()).await;
        match next {
            Ok(message) => match message? {
                Some(progress) if progress.ended => return Ok(Followed::Ended(progress)),
                Some(progress) => last = progress,
                None => return Err(Failure::other(format!("{what}: the node ended the stream: ask another one"))),
            },
            Err(_) if tokio::time::Instant::now() >= end => return Ok(Followed::Goes(last)),
            Err(_) => {}
        }
        bar.show(&last);
    }
}

pub(super) enum Followed {
    Ended(v1::Progress),
    /// On, when the time was up.
    Goes(v1::Progress),
}

/// Shows a stream beside a work that ends by itself. A stream that cannot be had is no failure of the work.
pub(super) async fn beside<T>(
    what: &str,
    told: Result<tonic::Response<tonic::Streaming<v1::Progress>>, tonic::Status>,
    work: impl Future<Output = T>,
) -> T {
    let shown = async {
        if let Ok(told) = told {
            let _ = follow(what, told.into_inner(), Duration::from_secs(86_400)).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        done = work => done,
        never = shown => never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_how_far_it_is_and_what_it_waits_for() {
        let progress = v1::Progress {
            stage: "catching up".into(),
            done: 50,
            total: 200,
            unit: "log entries".into(),
            ..Default::default()
        };
        let shown = line("node 4", &progress);
        assert_eq!(shown, "node 4: catching up [######------------------]  25 % 50/200 log entries");
        let waiting = v1::Progress {
            stage: "waiting".into(),
            waits_for: "2 open files".into(),
            unit: "files".into(),
            ..Default::default()
        };
        assert_eq!(line("scan of alice", &waiting), "scan of alice: waiting (waits for 2 open files) 0 files");
        let over = v1::Progress {
            stage: "receiving".into(),
            done: 3 << 20,
            total: 1 << 20,
            unit: "bytes".into(),
            ..Default::default()
        };
        assert_eq!(line("backup", &over), format!("backup: receiving [{}] 100 % 3.0 MiB/1.0 MiB", "#".repeat(24)));
        let open = v1::Progress { stage: "receiving".into(), done: 1536, unit: "bytes".into(), ..Default::default() };
        assert_eq!(line("backup", &open), "backup: receiving 1.5 KiB");
    }
}
