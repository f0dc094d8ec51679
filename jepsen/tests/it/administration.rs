//! Administration through three real nodes: what one of them answered holds at all of them from then on.

use std::time::Duration;

use flotilla_jepsen::client::{Sftp, Upload};
use flotilla_jepsen::lab::Lab;
use flotilla_jepsen::rest::Rest;
use flotilla_proto::FieldMask;
use flotilla_proto::admin::v1;
use futures::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::watch;
use tonic::Code;

use crate::grpc::Grpc;

const SOON: Duration = Duration::from_secs(20);
const MIB: u64 = 1 << 20;

/// `boss:correct horse`, as basic authentication writes it.
const BASIC: &str = "Basic Ym9zczpjb3JyZWN0IGhvcnNl";

/// A token for the admin's password, from a node.
async fn logged_in(lab: &Lab, node: usize) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", lab.admin_port(node))).await.unwrap();
        let head = format!(
            "GET /api/v2/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: {BASIC}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(SOON, ask).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    body["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// What each node answers to each token: the status of a read over REST, of a change over REST, the code of a read over gRPC.
async fn answers(lab: &Lab, tokens: &[String]) -> Vec<(u16, u16, Code)> {
    let all = tokens.iter().flat_map(|token| (1..=3).map(move |node| (node, token)));
    join_all(all.map(|(node, token)| async move {
        let rest = Rest::new(lab.admin_port(node), Some(token.clone()));
        let change = json!({"status": 1, "permissions": {"/": ["*"]}});
        let mut users = Grpc::with(lab, node, token).users();
        let request = v1::GetUserRequest { username: "demo".into(), consistency: 0 };
        let (read, changed, called) = tokio::join!(
            rest.get("/api/v2/users/demo"),
            rest.put("/api/v2/users/demo", &change),
            users.get_user(request)
        );
        (read.unwrap().0, changed.unwrap().0, called.err().map_or(Code::Ok, |status| status.code()))
    }))
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_one_node_work_on_all_and_what_is_taken_from_an_admin_is_gone_at_the_next_call_everywhere() {
    let lab = Lab::start(3).await.unwrap();
    // The password is no part of a change: a new one ends tokens, too.
    let boss =
        |status: u8, permissions: &[&str]| json!({"username": "boss", "status": status, "permissions": permissions});
    let mut made = boss(1, &["*"]);
    made["password"] = "correct horse".into();
    let all = (200, 200, Code::Ok);
    for (round, what) in ["demoted", "disabled", "deleted", "logged out"].into_iter().enumerate() {
        // Each time through another node.
        let through = lab.rest(round % 3 + 1).unwrap();
        let (status, answer) = through.post("/api/v2/admins", &made).await.unwrap();
        assert_eq!(status, 201, "{answer}");
        let mut tokens = Vec::new();
        for node in 1..=3 {
            tokens.push(logged_in(&lab, node).await);
        }
        assert_eq!(answers(&lab, &tokens).await, vec![all; 9], "before the admin is {what}");
        let (status, answer) = match what {
            "demoted" => through.put("/api/v2/admins/boss", &boss(1, &["view_users"])).await.unwrap(),
            "disabled" => through.put("/api/v2/admins/boss", &boss(0, &["*"])).await.unwrap(),
            "deleted" => through.delete("/api/v2/admins/boss").await.unwrap(),
            _ => Rest::new(lab.admin_port(2), Some(tokens[0].clone())).get("/api/v2/logout").await.unwrap(),
        };
        assert_eq!(status, 200, "{what}: {answer}");
        let after = answers(&lab, &tokens).await;
        let gone = (401, 401, Code::Unauthenticated);
        let expected = match what {
            "demoted" => vec![(200, 403, Code::Ok); 9],
            // One token of three.
            "logged out" => [vec![gone; 3], vec![all; 6]].concat(),
            _ => vec![gone; 9],
        };
        assert_eq!(after, expected, "{what}\n{}", lab.log_tails());
        if what != "deleted" {
            assert_eq!(through.delete("/api/v2/admins/boss").await.unwrap().0, 200);
            assert_eq!(answers(&lab, &tokens).await, vec![gone; 9], "nothing of a deleted admin is left");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_through_any_node_is_read_at_once_through_every_other_over_rest_and_grpc() {
    let lab = Lab::start(3).await.unwrap();
    lab.user("read", 0, 0, 0).await.unwrap();
    let rests: Vec<Rest> = (1..=3).map(|node| lab.rest(node).unwrap()).collect();
    let calls: Vec<Grpc> = (1..=3).map(|node| Grpc::of(&lab, node)).collect();
    for n in 0..60 {
        let written = format!("change {n}");
        if n % 2 == 0 {
            let body = json!({"status": 1, "permissions": {"/": ["*"]}, "description": written});
            let (status, answer) = rests[n % 3].put("/api/v2/users/read", &body).await.unwrap();
            assert_eq!(status, 200, "{answer}");
        } else {
            let user = v1::User { username: "read".into(), description: written.clone(), ..Default::default() };
            let update_mask = Some(FieldMask { paths: vec!["description".into()] });
            let request = v1::UpdateUserRequest { user: Some(user), update_mask, ..Default::default() };
            calls[n % 3].users().update_user(request).await.unwrap();
        }
        let over_rest = join_all(rests.iter().map(|rest| async {
            rest.get("/api/v2/users/read").await.unwrap().1["description"].as_str().unwrap().to_owned()
        }));
        let over_grpc = join_all(calls.iter().map(|call| async {
            let request = v1::GetUserRequest { username: "read".into(), consistency: 0 };
            call.users().get_user(request).await.unwrap().into_inner().user.unwrap().description
        }));
        let (rest, grpc) = tokio::join!(over_rest, over_grpc);
        assert_eq!([rest, grpc].concat(), vec![written; 6], "written through node {}", n % 3 + 1);
    }
}

/// Reads a stream until it ends or `enough` says so.
async fn follow(
    grpc: &Grpc,
    resume: &str,
    since: Option<u64>,
    enough: impl Fn(&[v1::Event]) -> bool,
) -> Vec<v1::Event> {
    let request = v1::WatchEventsRequest { since, resume_token: resume.to_owned() };
    let mut stream = grpc.events().watch_events(request).await.expect("a stream").into_inner();
    let mut events = Vec::new();
    let reading = async {
        while !enough(&events) {
            match stream.message().await {
                Ok(Some(event)) => events.push(event),
                // Its node was killed.
                Ok(None) | Err(_) => break,
            }
        }
    };
    tokio::time::timeout(SOON, reading).await.expect("events come, or the end");
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_resumed_from_another_node_after_a_kill_without_gap_or_double() {
    let mut lab = Lab::start(3).await.unwrap();
    let first = lab.leader().await.unwrap();
    let others: Vec<usize> = (1..=3).filter(|node| *node != first).collect();
    // Changes go on all the while, through the nodes that stay.
    let over = watch::Sender::new(false);
    let writers: Vec<_> = others
        .iter()
        .map(|node| {
            let (rest, over, node) = (lab.rest(*node).unwrap(), over.clone(), *node);
            tokio::spawn(async move {
                let mut made = Vec::new();
                for n in 0.. {
                    if *over.borrow() {
                        break;
                    }
                    let body = json!({"username": format!("w{node}n{n}"), "status": 1, "permissions": {"/": ["*"]}});
                    if let Ok((201, _)) = rest.post("/api/v2/users", &body).await {
                        made.push(format!("w{node}n{n}"));
                    }
                }
                made
            })
        })
        .collect();
    let mut seen = follow(&Grpc::of(&lab, first), "", Some(0), |events| events.len() >= 60).await;
    let (told, mut telling) = watch::channel(0);
    let watching = tokio::spawn({
        let (grpc, resume) = (Grpc::of(&lab, first), seen.last().unwrap().resume_token.clone());
        let told = move |events: &[v1::Event]| {
            told.send_replace(events.len());
            false
        };
        async move { follow(&grpc, &resume, None, told).await }
    });
    // The stream is under way when its node dies, which leads, too.
    tokio::time::timeout(SOON, telling.wait_for(|told| *told >= 20)).await.expect("events go on").unwrap();
    lab.kill(first).unwrap();
    seen.extend(watching.await.unwrap());
    let cut = seen.len();
    for node in [others[0], others[1]] {
        let token = seen.last().unwrap().resume_token.clone();
        seen.extend(follow(&Grpc::of(&lab, node), &token, None, |events| events.len() >= 60).await);
    }
    over.send_replace(true);
    let mut made = Vec::new();
    for writer in writers {
        made.extend(writer.await.unwrap());
    }
    // And from the node that was away, to the end.
    lab.restart(first).await.unwrap();
    lab.until_ready(SOON).await.unwrap();
    let (_, page) = lab.rest(first).unwrap().get("/api/v2/events?limit=1").await.unwrap();
    let last = page["last"].as_u64().unwrap();
    let token = seen.last().unwrap().resume_token.clone();
    let through = |events: &[v1::Event]| events.last().is_some_and(|event| event.number >= last);
    if seen.last().unwrap().number < last {
        seen.extend(follow(&Grpc::of(&lab, first), &token, None, through).await);
    }
    let numbers: Vec<u64> = seen.iter().map(|event| event.number).collect();
    let dense: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, dense, "cut at {cut}");
    assert!(cut > 60 && numbers.len() as u64 >= last, "{cut} before the kill, {} in all, {last}", numbers.len());
    // Each node tells the same history.
    for node in 1..=3 {
        let all = follow(&Grpc::of(&lab, node), "", Some(0), |events| events.len() >= seen.len()).await;
        let differs = seen.iter().zip(&all).find(|(one, other)| one != other);
        assert!(differs.is_none(), "node {node}: {differs:?}");
    }
    for name in &made {
        let times = seen.iter().filter(|event| event.kind == "user_created" && event.object_name == *name).count();
        assert_eq!(times, 1, "{name}");
    }
    assert!(!made.is_empty());
}

/// What a stream of progress tells, to its end.
async fn to_the_end(mut stream: tonic::Streaming<v1::Progress>) -> Vec<v1::Progress> {
    let mut told = Vec::new();
    let reading = async {
        while let Some(progress) = stream.message().await.expect("no error") {
            told.push(progress);
        }
    };
    tokio::time::timeout(2 * SOON, reading).await.expect("it ends");
    assert!(told.last().is_some_and(|last| last.ended), "{told:#?}");
    assert_eq!(told.iter().filter(|progress| progress.ended).count(), 1, "{told:#?}");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_of_a_folder_in_use_is_asked_of_one_node_told_by_another_and_counted_on_all() {
    let lab = Lab::start(3).await.unwrap();
    lab.user("scanned", 0, 100 * MIB, 0).await.unwrap();
    let mut sessions = Vec::new();
    for node in 1..=3 {
        let session = Sftp::login(lab.sftp_port(node), "scanned").await.unwrap().expect("login");
        assert!(matches!(session.upload(&format!("/own{node}"), MIB, 32768).await, Upload::Stored));
        sessions.push(session);
    }
    // What came behind the server's back is not counted until somebody asks.
    for n in 0..40 {
        lab.seed("scanned", &format!("restored{n}"), MIB / 4).unwrap();
    }
    let request = v1::ScanQuotaRequest { username: "scanned".into(), ..Default::default() };
    let asked = Grpc::of(&lab, 1).quotas().scan_quota(request).await.unwrap().into_inner().result.unwrap();
    let request = v1::WatchScanRequest { username: "scanned".into(), after_log_index: asked.log_index };
    let told = to_the_end(Grpc::of(&lab, 2).quotas().watch_scan(request).await.unwrap().into_inner()).await;
    eprintln!("told of the scan: {:?}", told.iter().map(|progress| &progress.stage).collect::<Vec<_>>());
    assert!(told.last().unwrap().log_index > asked.log_index, "{told:#?}");
    for node in 1..=3 {
        let request = v1::GetQuotaRequest { username: "scanned".into(), consistency: 0 };
        let quota = Grpc::of(&lab, node).quotas().get_quota(request).await.unwrap().into_inner().quota.unwrap();
        assert_eq!((quota.used_size, quota.used_files), (13 * MIB, 43), "node {node}: {quota:?}");
        assert!(!quota.scanning && !quota.uncertain, "node {node}: {quota:?}");
    }
    // The sessions went on, and what they do now counts on top.
    for (n, session) in sessions.iter().enumerate() {
        assert!(matches!(session.upload(&format!("/after{n}"), MIB, 32768).await, Upload::Stored));
    }
    lab.until(SOON, "usage is what is stored", async || {
        let (_, user) = lab.rest(3)?.get("/api/v2/users/scanned").await?;
        Ok(user["used_quota_size"].as_u64() == Some(16 * MIB) && user["used_quota_files"].as_u64() == Some(46))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_goes_and_comes_back_is_told_by_another_to_the_end() {
    let mut lab = Lab::start(3).await.unwrap();
    let leader = lab.leader().await.unwrap();
    let (goes, tells) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    lab.user("goes", 0, 0, 0).await.unwrap();
    let busy = Sftp::login(lab.sftp_port(goes), "goes").await.unwrap().expect("login");
    let handle = busy.create("/slow").await.unwrap();
    busy.raw.write(&handle, 0, vec![1; 1000]).await.unwrap();
    let watch = async |goal: v1::NodeGoal| {
        let request = v1::WatchNodeRequest { node: goes as u64, goal: goal.into() };
        Grpc::of(&lab, tells).cluster().watch_node(request).await.unwrap().into_inner()
    };
    let mut told = watch(v1::NodeGoal::Gone).await;
    let sees_sessions =
        async { while told.message().await.expect("no error").expect("it goes on").stage != "sessions end" {} };
    tokio::time::timeout(SOON, sees_sessions).await.expect("its sessions are seen");
    let told = tokio::spawn(to_the_end(told));
    lab.signal(goes, Signal::TERM).unwrap();
    lab.until(SOON, "it drains", async || Ok(lab.unready(goes).await.is_ok_and(|why| why.contains("draining"))))
        .await
        .unwrap();
    assert!(!told.is_finished(), "a transfer still runs");
    busy.raw.close(handle).await.unwrap();
    let told = told.await.unwrap();
    let stages: Vec<&str> = told.iter().map(|progress| progress.stage.as_str()).collect();
    lab.restart(goes).await.unwrap();
    let request = v1::WatchNodeRequest { node: goes as u64, goal: v1::NodeGoal::Unspecified.into() };
    let back = to_the_end(Grpc::of(&lab, tells).cluster().watch_node(request).await.unwrap().into_inner()).await;
    assert_eq!(back.last().unwrap().stage, "a voter", "{back:#?}");
    eprintln!(
        "told of the way out {stages:?}, of the way back {:?}",
        back.iter().map(|told| &told.stage).collect::<Vec<_>>()
    );
}
