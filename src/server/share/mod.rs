//! Sharing: equal subscriptions share one stream and the bytes of its frames. Equal queries share one answer.

pub(super) mod client_subscription;
pub(super) mod frame;
mod frame_buffer;
mod group;
pub mod group_settings;
pub(super) mod key;
pub(super) mod member;
pub(super) mod shared_answers;
mod subscription_request;
