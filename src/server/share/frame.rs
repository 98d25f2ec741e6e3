//! The frames of a subscription: each response of its stream as JSON, with its place in the log.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use async_graphql::{Response, ServerError, Value};
use axum::extract::ws::Utf8Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};

use super::group_settings::Counters;
use crate::domain::{Error, Result};
use crate::graphql::error::present;
use crate::graphql::{PlacedResponse, ResponseStream};
use crate::realtime::track::{FrameKind, FramePlace, Track};
use crate::server::edge::response::ResponseBody;

/// An item that a transport sends to the client of a subscription.
#[derive(Clone, Debug)]
pub(crate) enum StreamItem {
    /// A response, as JSON.
    Next(Utf8Bytes),
    /// The errors that say why there is no stream; the last item.
    Refused(Arc<[ServerError]>),
    /// The stream broke off through no fault of the client, which reconnects; the last item.
    Broken,
}

impl StreamItem {
    pub(super) fn of(response: &Response) -> Result<Self> {
        let mut json = serde_json::to_string(&ResponseBody(response))
            .map_err(|error| Error::fault("writing a response", error))?;
        // The buffer of a group keeps this text.
        json.shrink_to_fit();
        Ok(Self::Next(json.into()))
    }
}

/// An item and its place in the log. An item without a place, like an error, belongs to no position.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) place: Option<FramePlace>,
    pub(crate) item: StreamItem,
    /// The response, kept if something in it failed: its errors name places in the text of one client's document.
    pub(crate) failed: Option<Arc<Response>>,
}

impl Frame {
    /// Makes the frame of a response that a stream has yielded.
    pub(crate) fn of((response, place): PlacedResponse, counters: &Counters) -> Result<Self> {
        counters.executed.fetch_add(1, Ordering::Relaxed);
        // A client cannot go on from an item that it did not get.
        let place = place.filter(|_| !has_failed(&response));
        let response = present(response);
        let item = StreamItem::of(&response)?;
        let failed = response.is_err().then(|| Arc::new(response));
        Ok(Self { place, item, failed })
    }

    pub(super) fn is(&self, kind: FrameKind) -> bool {
        self.place.is_some_and(|place| place.kind == kind)
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.item {
            StreamItem::Next(json) => json.len(),
            StreamItem::Refused(_) | StreamItem::Broken => 0,
        }
    }
}

/// A stream, and the track through which it is asked for its position.
pub(crate) struct TrackedStream {
    pub(crate) stream: BoxStream<'static, Said>,
    pub(crate) track: Track,
}

/// An event of a stream.
pub(crate) enum Said {
    /// A response. It may be a failed response if the stream goes on after it.
    Response(PlacedResponse),
    /// A failed response after which the stream ended: it says why there is no stream, or why the stream broke off.
    Broken(Response),
}

/// Turns responses into events: a failed response is an event of its own if the stream ends with it.
pub(crate) fn understood(responses: ResponseStream) -> BoxStream<'static, Said> {
    Understood { responses, kept: None }.boxed()
}

struct Understood {
    responses: ResponseStream,
    /// A failed response, until it is known whether another response follows; or that other response.
    kept: Option<Box<PlacedResponse>>,
}

impl Stream for Understood {
    type Item = Said;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Said>> {
        loop {
            if self.kept.as_ref().is_some_and(|kept| !has_failed(&kept.0)) {
                return Poll::Ready(self.kept.take().map(|kept| Said::Response(*kept)));
            }
            let Some(response) = ready!(self.responses.as_mut().poll_next(cx)) else {
                return Poll::Ready(self.kept.take().map(|failed| Said::Broken(failed.0)));
            };
            match (self.kept.take(), has_failed(&response.0)) {
                (None, false) => return Poll::Ready(Some(Said::Response(response))),
                (None, true) => self.kept = Some(Box::new(response)),
                (Some(former), _) => {
                    self.kept = Some(Box::new(response));
                    return Poll::Ready(Some(Said::Response(*former)));
                }
            }
        }
    }
}

fn has_failed(response: &Response) -> bool {
    response.is_err() && response.data == Value::Null
}
