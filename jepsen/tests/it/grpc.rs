//! Clients of a node's gRPC.

use flotilla_jepsen::lab::Lab;
use flotilla_proto::admin::v1::cluster_client::ClusterClient;
use flotilla_proto::admin::v1::events_client::EventsClient;
use flotilla_proto::admin::v1::quotas_client::QuotasClient;
use flotilla_proto::admin::v1::users_client::UsersClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A connection to a node with somebody's token.
#[derive(Clone)]
pub struct Grpc {
    channel: Channel,
    bearer: Bearer,
}

type Called = InterceptedService<Channel, Bearer>;

impl Grpc {
    pub fn with(lab: &Lab, node: usize, token: &str) -> Grpc {
        let address = format!("http://127.0.0.1:{}", lab.admin_port(node));
        let channel = Endpoint::from_shared(address).unwrap().connect_lazy();
        Grpc { channel, bearer: Bearer(format!("Bearer {token}").parse().unwrap()) }
    }

    /// With the first administrator's token.
    pub fn of(lab: &Lab, node: usize) -> Grpc {
        Grpc::with(lab, node, &lab.admin_token().unwrap())
    }

    pub fn users(&self) -> UsersClient<Called> {
        UsersClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
    pub fn events(&self) -> EventsClient<Called> {
        EventsClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
    pub fn quotas(&self) -> QuotasClient<Called> {
        QuotasClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
    pub fn cluster(&self) -> ClusterClient<Called> {
        ClusterClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
}
