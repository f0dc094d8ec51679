//! The wire of administration: generated gRPC code, checked in, and what the model's records look like on it.
//!
//! `tests/it` makes the code anew from `proto/` without `protoc` and says when what is checked in is stale.

pub mod convert;

/// `flotilla.admin.v1`.
pub mod admin {
    #[allow(clippy::all, rust_2018_idioms, missing_docs)]
    pub mod v1 {
        include!("gen/flotilla.admin.v1.rs");
    }
}

/// `google.protobuf.FieldMask`, for callers of `UpdateUser`.
pub use prost_types::FieldMask;
/// Shows a time as RFC 3339 does.
pub use prost_types::Timestamp;

/// The serialized `FileDescriptorSet` of all services, for reflection and for tests that go through every call.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/flotilla.admin.v1.bin");
