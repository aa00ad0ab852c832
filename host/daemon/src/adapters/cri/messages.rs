//! The messages of the Container Runtime Interface, version 1 (`runtime.v1` in its `api.proto`), as
//! far as the daemon uses them. The decoder skips fields that are not declared here.

use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, message, skip_field};
use prost::{DecodeError, Message};

/// Far more sandboxes than a node runs.
pub(super) const MAX_SANDBOXES: usize = 20_000;

/// Without a filter: all sandboxes, ready or not.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ListPodSandboxRequest {}

/// Decoded by hand: in memory, an empty item would take many times its two bytes. Items beyond the
/// limit are counted, and skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ListPodSandboxResponse {
    pub(super) items: Vec<PodSandbox>,
    pub(super) count: usize,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct PodSandbox {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

/// Field number of `items`.
const ITEMS: u32 = 1;

impl Message for ListPodSandboxResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        message::encode_repeated(ITEMS, &self.items, buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag == ITEMS {
            self.count += 1;
            if self.items.len() < MAX_SANDBOXES {
                return message::merge_repeated(wire_type, &mut self.items, buf, ctx);
            }
        }
        skip_field(wire_type, tag, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        message::encoded_len_repeated(ITEMS, &self.items)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
