//! Administration: reads and writes per second over REST and gRPC, by one caller and by 64, spread over three nodes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flotilla_jepsen::lab::Lab;
use flotilla_proto::admin::v1;
use flotilla_proto::admin::v1::users_client::UsersClient;
use serde_json::json;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::Size;
use crate::rates::Times;

/// Users that are there to be read.
const READABLE: usize = 200;

#[derive(Clone)]
struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Users = UsersClient<InterceptedService<Channel, Bearer>>;

/// A client of a node's gRPC with a connection of its own.
async fn users(lab: &Lab, node: usize) -> Result<Users> {
    let bearer = Bearer(format!("Bearer {}", lab.admin_token()?).parse().context("the token is not ASCII")?);
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{}", lab.admin_port(node)))?.connect().await?;
    Ok(UsersClient::with_interceptor(channel, bearer))
}

/// Each of eight runs takes `size.admin_seconds`.
pub async fn calls(lab: &Lab, size: &Size) -> Result<()> {
    let time = Duration::from_secs(size.admin_seconds);
    lab.commits(1, "read", READABLE).await?;
    for clients in [1usize, 64] {
        let rests = (0..clients).map(|n| lab.rest(n % 3 + 1)).collect::<Result<Vec<_>>>()?;
        let mut callers = Vec::new();
        for n in 0..clients {
            callers.push(users(lab, n % 3 + 1).await?);
        }
        let reading = run(clients, time, async |client, n| {
            let answer = rests[client].get(&format!("/api/v2/users/read{}", n % READABLE)).await;
            answer.is_ok_and(|(status, _)| status == 200)
        });
        reading.await.shown(&format!("REST reads (GET a user), {clients} clients"));
        let writing = run(clients, time, async |client, n| {
            let body = json!({"username": format!("r{clients}-{client}-{n}"), "permissions": {"/": ["*"]}});
            rests[client].post("/api/v2/users", &body).await.is_ok_and(|(status, _)| status == 201)
        });
        writing.await.shown(&format!("REST writes (POST a user), {clients} clients"));
        let reading = run(clients, time, async |client, n| {
            let request = v1::GetUserRequest { username: format!("read{}", n % READABLE), consistency: 0 };
            callers[client].clone().get_user(request).await.is_ok()
        });
        reading.await.shown(&format!("gRPC reads (GetUser), {clients} clients"));
        let writing = run(clients, time, async |client, n| {
            let user = v1::User {
                username: format!("g{clients}-{client}-{n}"),
                permissions: [("/".to_owned(), v1::Permissions { names: vec!["*".into()] })].into(),
                ..Default::default()
            };
            let request = v1::CreateUserRequest { user: Some(user), ..Default::default() };
            callers[client].clone().create_user(request).await.is_ok()
        });
        writing.await.shown(&format!("gRPC writes (CreateUser), {clients} clients"));
    }
    Ok(())
}

/// Each client calls again and again until the time is over: with its number and how many calls it has made.
async fn run(clients: usize, time: Duration, call: impl AsyncFn(usize, usize) -> bool) -> Times {
    let started = Instant::now();
    let call = &call;
    let client = async |client: usize| {
        let (mut times, mut failed, mut n) = (Vec::new(), 0, 0);
        while started.elapsed() < time {
            let before = Instant::now();
            match call(client, n).await {
                true => times.push(before.elapsed().as_secs_f64() * 1e3),
                false => failed += 1,
            }
            n += 1;
        }
        (times, failed)
    };
    let outcomes = futures::future::join_all((0..clients).map(client)).await;
    let failed = outcomes.iter().map(|(_, failed)| failed).sum();
    let times = outcomes.into_iter().flat_map(|(times, _)| times).collect();
    Times { times, failed, seconds: started.elapsed().as_secs_f64() }
}
