//! OpenSSH's own client over pipes (`sftp -D`).

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const SFTP: &str = "/usr/bin/sftp";

/// The example program stands beside the test binary's folder; `cargo test` builds both.
fn server() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().parent().unwrap().join("examples/stdio_server")
}

struct Field {
    root: tempfile::TempDir,
    local: tempfile::TempDir,
}

struct Run {
    ok: bool,
    out: String,
    err: String,
}

impl Field {
    fn new() -> Self {
        assert!(Path::new(SFTP).exists(), "no OpenSSH client at {SFTP}: make test-needs installs it");
        assert!(server().exists(), "build the example first: cargo build -p flotilla-sftp --example stdio_server");
        Self { root: tempfile::tempdir().unwrap(), local: tempfile::tempdir().unwrap() }
    }

    fn sftp(&self, options: &[&str], commands: &str) -> Run {
        self.sftp_cached(true, options, commands)
    }

    fn sftp_cached(&self, cached: bool, options: &[&str], commands: &str) -> Run {
        let mut child = Command::new("timeout")
            .args(["120", SFTP, "-b", "-"])
            .args(options)
            .arg("-D")
            .arg(server())
            .env("FLOTILLA_TEST_ROOT", self.root.path())
            .env("FLOTILLA_TEST_CACHED", if cached { "1" } else { "0" })
            .current_dir(self.local.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Run { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    fn done(&self, options: &[&str], commands: &str) -> String {
        let run = self.sftp(options, commands);
        assert!(run.ok, "{}\n{}", run.out, run.err);
        run.out
    }

    fn remote(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn here(&self, name: &str) -> PathBuf {
        self.local.path().join(name)
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..bytes.div_ceil(8)).flat_map(|_| step().to_le_bytes()).take(bytes).collect()
}

#[test]
fn large_files_come_and_go_whole_with_any_request_size_and_depth() {
    let field = Field::new();
    let content = noise((64 << 20) + 12_345);
    fs::write(field.remote("big"), &content).unwrap();
    for (cached, options) in [
        (true, vec![]),
        (false, vec![]),
        (true, vec!["-B", "32768", "-R", "256"]),
        (false, vec!["-B", "261120", "-R", "256"]),
    ] {
        let run = field.sftp_cached(cached, &options, "get big got\nput got back\n");
        assert!(run.ok, "{options:?} {}\n{}", run.out, run.err);
        assert!(fs::read(field.here("got")).unwrap() == content, "download differs: {options:?}");
        assert!(fs::read(field.remote("back")).unwrap() == content, "upload differs: {options:?}");
    }
}

#[test]
fn trees_come_and_go_whole() {
    let field = Field::new();
    for number in 0..250 {
        let folder = field.here(&format!("tree/{}", number % 5));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("file {number}")), noise(number * 37)).unwrap();
    }
    field.done(&[], "put -R tree\nget -R tree again\n");
    for number in 0..250 {
        let name = format!("{}/file {number}", number % 5);
        assert_eq!(fs::read(field.here("again").join(&name)).unwrap(), noise(number * 37), "{name}");
    }
}

#[test]
fn names_are_made_changed_and_removed() {
    let field = Field::new();
    fs::write(field.here("file"), b"content").unwrap();
    let out = field.done(
        &[],
        "mkdir d\ncd d\npwd\nput file\nrename file other\nln -s other link\nchmod 640 other\nls -l\ndf -i\n",
    );
    assert!(out.contains("Remote working directory: /d"), "{out}");
    assert!(out.contains("lrwxrwxrwx") && out.contains("-rw-r-----"), "{out}");
    assert!(out.contains("50%"), "{out}");
    assert_eq!(fs::read_link(field.remote("d/link")).unwrap(), Path::new("other"));
    assert_eq!(fs::metadata(field.remote("d/other")).unwrap().permissions().mode() & 0o777, 0o640);
    field.done(&[], "rm d/link\nrm d/other\nrmdir d\n");
    assert!(!field.remote("d").exists());
}

#[test]
fn rename_replaces_by_the_extension_and_missing_files_are_told() {
    let field = Field::new();
    fs::write(field.remote("old"), b"old").unwrap();
    fs::write(field.remote("new"), b"new").unwrap();
    field.done(&[], "rename new old\n");
    assert_eq!(fs::read(field.remote("old")).unwrap(), b"new");
    let run = field.sftp(&[], "get nothing\n");
    assert!(!run.ok && run.err.contains("not found"), "{}", run.err);
    let run = field.sftp(&[], "rmdir old\n");
    assert!(!run.ok, "{}", run.out);
}

#[test]
fn transfers_resume_and_keep_times() {
    let field = Field::new();
    let content = noise(5 << 20);
    fs::write(field.remote("whole"), &content).unwrap();
    fs::write(field.here("whole"), &content[..1_234_567]).unwrap();
    field.done(&[], "reget whole\n");
    assert!(fs::read(field.here("whole")).unwrap() == content);
    fs::write(field.remote("back"), &content[..2_345_678]).unwrap();
    field.done(&[], "reput whole back\nput -p whole kept\n");
    assert!(fs::read(field.remote("back")).unwrap() == content);
    let (one, two) = (fs::metadata(field.here("whole")).unwrap(), fs::metadata(field.remote("kept")).unwrap());
    assert_eq!((one.mtime(), one.mode()), (two.mtime(), two.mode()));
}

#[test]
fn names_that_are_not_text_pass_unchanged() {
    use std::os::unix::ffi::OsStrExt as _;
    let field = Field::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    fs::write(field.root.path().join(name), b"latin").unwrap();
    field.done(&[], "get caf*\n");
    assert_eq!(fs::read(field.local.path().join(name)).unwrap(), b"latin");
}
