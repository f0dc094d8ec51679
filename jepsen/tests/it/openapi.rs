//! The OpenAPI document as others judge it: PyPI's openapi-spec-validator, and its JSON-schema library on a real node's answers.

use std::path::Path;

use flotilla_jepsen::client::LoggedIn;
use flotilla_jepsen::lab::Lab;
use tokio::process::Command;

use crate::sftpgo_client::{python, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_valid_and_what_a_node_answers_is_as_it_says() {
    let python = python("openapi-spec-validator==0.9.0", "openapi_spec_validator").await.unwrap();
    let lab = Lab::start(1).await.unwrap();
    let (written, document) = lab.cli(1, &["openapi"]).await.unwrap();
    assert!(written, "{document}");
    let file = lab.folder().join("openapi.json");
    std::fs::write(&file, document).unwrap();
    // A live session, so that there is a connection to show.
    lab.user("walker", 0, 0, 0).await.unwrap();
    let session = LoggedIn::login(lab.sftp_port(1), "walker").await.unwrap().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/openapi/judge.py");
    let base = format!("http://127.0.0.1:{}/api/v2", lab.admin_port(1));
    let mut judge = Command::new(python);
    judge.arg(script).args([&file.display().to_string(), &base]).env("TOKEN", lab.admin_token().unwrap());
    let told = run("judge.py", &mut judge).await.unwrap_or_else(|error| panic!("{error:#}\n{}", lab.log_tails()));
    assert!(told.contains("every operation was answered as described"), "{told}");
    session.leave().await;
}
