//! Client certificates of admins: who may call what by one, and that what is taken from the admin is gone at the next call.

use axum::http::StatusCode;
use flotilla_api::Tls;
use flotilla_api::access::{PERMISSIONS, ROUTES, Verb};
use flotilla_cluster::Cluster as _;
use flotilla_model::command::{Delete, Expected, Put};
use flotilla_model::{AdminSpec, Command, Name, Status};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;

use crate::fixture::Server;
use crate::tls::{Ca, connect};

/// A connection with a certificate, kept over many calls.
struct Certified(SendRequest<Empty<bytes::Bytes>>);

impl Certified {
    async fn connect(server: &Server, ca: &Ca, own: (String, String)) -> Certified {
        let io = connect(server.address, ca, Some(own)).await.expect("TLS");
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.expect("HTTP");
        tokio::spawn(connection);
        Certified(sender)
    }

    async fn call(&mut self, method: &str, path: &str) -> StatusCode {
        let request =
            http::Request::builder().method(method).uri(format!("/api/v2{path}")).header("host", "admin.test");
        self.0.ready().await.expect("the connection stays");
        let response = self.0.send_request(request.body(Empty::new()).expect("a request")).await.expect("an answer");
        let status = response.status();
        response.into_body().collect().await.expect("the whole body");
        status
    }
}

async fn server(ca: &Ca, clients: &Ca) -> Server {
    let tls = Tls::new(&ca.material(Some(clients), false)).expect("TLS");
    Server::start_on(([127, 0, 0, 1], 0).into(), Some(tls)).await
}

fn spec(permissions: &[&str]) -> AdminSpec {
    AdminSpec {
        status: Status::Enabled,
        password_hash: None,
        permissions: permissions.iter().map(|name| (*name).to_owned()).collect(),
        email: String::new(),
        description: String::new(),
        additional_info: String::new(),
        role: None,
        allow_list: Vec::new(),
        allow_api_key_auth: false,
    }
}

fn put(server: &Server, name: &str, spec: AdminSpec) {
    let name = Name::parse(name).expect("a name");
    let there = server.cluster.local.state().kept::<AdminSpec>(&name).is_some();
    let put = Put { name, expected: if there { Expected::Present } else { Expected::Absent }, spec };
    server.cluster.local.apply(Command::PutAdmin(put)).reply.expect("an admin");
}

#[tokio::test]
async fn every_route_answers_to_the_certificate_of_who_holds_its_permission_and_to_nobody_else() {
    let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
    let server = server(&ca, &clients).await;
    for (number, held) in PERMISSIONS.into_iter().enumerate() {
        let name = format!("holder{number}");
        put(&server, &name, spec(&[held]));
        let mut own = Certified::connect(&server, &ca, clients.sign(&name)).await;
        // A login is no matter of certificates.
        for (method, route, verb) in ROUTES.iter().filter(|(.., verb)| *verb != Verb::Login) {
            let named = [("{username}", "nobody"), ("{name}", "nothing"), ("{id}", "1-2-3")];
            let path = named.iter().fold((*route).to_owned(), |path, (hole, name)| path.replace(hole, name));
            let may = verb.permission().is_none_or(|needed| held == "*" || held == needed);
            let status = own.call(method, &path).await;
            assert_eq!(status == StatusCode::FORBIDDEN, !may, "{method} {route} with {held}: {status}");
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{method} {route} with {held}");
        }
        assert_eq!(own.call("GET", "/token").await, StatusCode::UNAUTHORIZED, "a password is needed");
    }
}

#[tokio::test]
async fn demoting_disabling_and_deleting_act_on_the_next_call_of_an_open_connection() {
    let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
    let server = server(&ca, &clients).await;
    put(&server, "ann", spec(&["view_users"]));
    let mut ann = Certified::connect(&server, &ca, clients.sign("ann")).await;
    assert_eq!(ann.call("GET", "/users").await, StatusCode::OK);
    assert_eq!(ann.call("GET", "/admins").await, StatusCode::FORBIDDEN);
    put(&server, "ann", spec(&["*"]));
    assert_eq!(ann.call("GET", "/admins").await, StatusCode::OK, "promoted");
    put(&server, "ann", spec(&["view_conns"]));
    assert_eq!(ann.call("GET", "/users").await, StatusCode::FORBIDDEN, "demoted");
    assert_eq!(ann.call("GET", "/connections").await, StatusCode::OK);
    put(&server, "ann", AdminSpec { allow_list: vec!["192.0.2.0/24".into()], ..spec(&["*"]) });
    assert_eq!(ann.call("GET", "/users").await, StatusCode::UNAUTHORIZED, "not from here");
    put(&server, "ann", spec(&["*"]));
    assert_eq!(ann.call("GET", "/users").await, StatusCode::OK);
    put(&server, "ann", AdminSpec { status: Status::Disabled, ..spec(&["*"]) });
    assert_eq!(ann.call("GET", "/users").await, StatusCode::UNAUTHORIZED, "disabled");
    put(&server, "ann", spec(&["*"]));
    let delete = Delete { name: Name::parse("ann").expect("a name"), expected_revision: None };
    server.cluster.local.apply(Command::DeleteAdmin(delete)).reply.expect("deleted");
    assert_eq!(ann.call("GET", "/users").await, StatusCode::UNAUTHORIZED, "deleted");
}

/// `root` is a token of the fixture that may do everything.
#[tokio::test]
async fn a_disabled_admin_does_not_fall_back_on_a_token_of_the_same_name() {
    let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
    let server = server(&ca, &clients).await;
    let mut root = Certified::connect(&server, &ca, clients.sign("root")).await;
    assert_eq!(root.call("GET", "/users").await, StatusCode::OK, "the token's");
    put(&server, "root", spec(&["view_conns"]));
    assert_eq!(root.call("GET", "/users").await, StatusCode::FORBIDDEN, "the admin's");
    put(&server, "root", AdminSpec { status: Status::Disabled, ..spec(&["view_conns"]) });
    assert_eq!(root.call("GET", "/users").await, StatusCode::UNAUTHORIZED);
}
