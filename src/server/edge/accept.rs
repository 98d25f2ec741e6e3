//! Chooses the media type of an answer: the only place that reads `Accept`.
//!
//! The most specific range that names a type gives its weight. Of the accepted types the highest weight decides, then
//! the most specific range, then the earlier range. A streaming type must be named, because clients that cannot read a
//! stream send `*/*`.

use async_graphql::parser::types::OperationType;
use axum::http::{HeaderMap, HeaderValue, header::ACCEPT};

/// The media type of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Media {
    /// `application/graphql-response+json`: its status says whether the request succeeded.
    GraphQl,
    /// `application/json`: its status is 200 for everything that is a request at all.
    Json,
    /// `text/event-stream` of graphql-sse, for queries and mutations too.
    EventStream,
    /// `multipart/mixed` of Apollo, for subscriptions only.
    Multipart,
}

impl Media {
    /// Returns whether an answer of this type is one JSON text.
    pub(in crate::server) fn is_one_json(self) -> bool {
        matches!(self, Self::GraphQl | Self::Json)
    }

    pub(in crate::server) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::GraphQl => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
            Self::EventStream => "text/event-stream; charset=utf-8",
            Self::Multipart => r#"multipart/mixed;boundary="graphql";subscriptionSpec=1.0"#,
        })
    }

    fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::GraphQl => ("application", "graphql-response+json"),
            Self::Json => ("application", "json"),
            Self::EventStream => ("text", "event-stream"),
            Self::Multipart => ("multipart", "mixed"),
        }
    }

    fn streams(self) -> bool {
        matches!(self, Self::EventStream | Self::Multipart)
    }
}

/// The ranges of `Accept`, in their order.
#[derive(Debug)]
pub(in crate::server) struct Accept(Vec<Range>);

#[derive(Debug)]
struct Range {
    kind: String,
    subtype: String,
    /// In thousandths.
    weight: u16,
    parameters: Vec<(String, String)>,
}

/// How much the client prefers a type: weight, specificity, position and the default. The greatest rank wins.
type Rank = (u16, u8, usize, bool);

impl Accept {
    pub(in crate::server) fn of(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(ACCEPT).into_iter().map(|value| value.to_str().unwrap_or_default());
        Self(lines.flat_map(|line| split(line, ',')).filter_map(Range::read).collect())
    }

    /// Returns the type of the answer to an operation; `None` if the client accepts no possible type.
    pub(in crate::server) fn of_operation(&self, operation: OperationType) -> Option<Media> {
        match operation {
            OperationType::Subscription => self.best(&[Media::EventStream, Media::Multipart]),
            _ => self.best(&[Media::Json, Media::GraphQl, Media::EventStream]),
        }
    }

    /// Returns the type of a refusal before the operation is known. JSON is preferred to a stream, because it comes
    /// with a status that says more.
    pub(in crate::server) fn of_refusal(&self) -> Option<Media> {
        self.best(&[Media::Json, Media::GraphQl]).or_else(|| self.best(&[Media::EventStream, Media::Multipart]))
    }

    fn best(&self, offered: &[Media]) -> Option<Media> {
        let ranked = offered.iter().filter_map(|media| Some((self.rank(*media)?, *media)));
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, media)| media)
    }

    fn rank(&self, media: Media) -> Option<Rank> {
        if self.0.is_empty() {
            // Clients older than the draft send no `Accept`, and expect JSON.
            return (!media.streams()).then_some((1_000, 0, 0, media == Media::Json));
        }
        let matching = self.0.iter().enumerate().filter_map(|(at, range)| {
            let specific = range.names(media)?;
            Some((specific, range.weight, self.0.len() - at))
        });
        let (specific, weight, early) = matching.max()?;
        let is_named = specific > 0 || !media.streams();
        (weight > 0 && is_named).then_some((weight, specific, early, media == Media::Json))
    }
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let mut parts = split(text, ';');
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut range = Self {
            kind: kind.trim().to_ascii_lowercase(),
            subtype: subtype.trim().to_ascii_lowercase(),
            weight: 1_000,
            parameters: Vec::new(),
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned());
            match name.as_str() {
                // A float saturates into the range. A text that is not a number counts as 0.
                "q" => range.weight = (value.parse::<f32>().unwrap_or_default().clamp(0.0, 1.0) * 1_000.0) as u16,
                _ => range.parameters.push((name, value)),
            }
        }
        Some(range)
    }

    /// Returns how specifically the range names a type; `None` if it does not.
    fn names(&self, media: Media) -> Option<u8> {
        let (kind, subtype) = media.name();
        let specific = match (self.kind.as_str(), self.subtype.as_str()) {
            ("*", "*") => 0,
            (named, "*") if named == kind => 1,
            (named, exactly) if (named, exactly) == (kind, subtype) => 2,
            _ => return None,
        };
        let fits = |(name, value): &(String, String)| match name.as_str() {
            "charset" => is_utf8(value),
            // Another value names another protocol in the same type. The server chooses the boundary, whatever is
            // written here.
            "subscriptionspec" => value == "1.0",
            "deferspec" | "incrementalspec" => media != Media::Multipart || self.speaks_of_subscriptions(),
            _ => true,
        };
        self.parameters.iter().all(fits).then_some(specific)
    }

    fn speaks_of_subscriptions(&self) -> bool {
        self.parameters.iter().any(|(name, _)| name == "subscriptionspec")
    }
}

pub(in crate::server) fn is_utf8(charset: &str) -> bool {
    charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
}

/// Splits a list at separators outside quotes, and leaves out empty parts.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let parts = text.split(move |letter| {
        quoted ^= letter == '"';
        letter == separator && !quoted
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str) -> (Option<Media>, Option<Media>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).expect("a header"));
        let accept = Accept::of(&headers);
        (accept.of_operation(OperationType::Query), accept.of_operation(OperationType::Subscription))
    }

    #[test]
    fn each_operation_gets_what_is_preferred_among_what_can_carry_it() {
        use Media::{EventStream, GraphQl, Json, Multipart};
        for (accept, query, subscription) in [
            ("", Some(Json), None),
            ("*/*", Some(Json), None),
            ("application/json", Some(Json), None),
            ("text/event-stream", Some(EventStream), Some(EventStream)),
            ("text/*", Some(EventStream), Some(EventStream)),
            ("text/event-stream;q=0", None, None),
            ("multipart/mixed", None, Some(Multipart)),
            // urql, for a query and for a subscription.
            (
                "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, \
                 multipart/mixed",
                Some(GraphQl),
                Some(EventStream),
            ),
            ("text/event-stream, multipart/mixed", Some(EventStream), Some(EventStream)),
            ("multipart/mixed, text/event-stream", Some(EventStream), Some(Multipart)),
            (
                "multipart/mixed;q=0.5, text/event-stream;q=0.4, application/json;q=0.1",
                Some(EventStream),
                Some(Multipart),
            ),
            ("multipart/mixed;q=0.5, text/event-stream", Some(EventStream), Some(EventStream)),
            ("text/event-stream, application/json", Some(EventStream), Some(EventStream)),
            // Apollo, as its client writes it and as its router's documentation does.
            (
                "multipart/mixed;boundary=graphql;subscriptionSpec=1.0, application/graphql-response+json, \
                 application/json;q=0.9",
                Some(GraphQl),
                Some(Multipart),
            ),
            (r#"multipart/mixed;boundary="graphql";subscriptionSpec="1.0""#, None, Some(Multipart)),
            (r#"multipart/mixed; boundary="a,b;c"; subscriptionSpec=1.0"#, None, Some(Multipart)),
            ("multipart/mixed;subscriptionSpec=2.0, application/json", Some(Json), None),
            ("multipart/mixed;deferSpec=20220824, application/json", Some(Json), None),
            ("multipart/*;q=0.2, */*", Some(Json), Some(Multipart)),
        ] {
            assert_eq!(chosen(accept), (query, subscription), "{accept}");
        }
    }

    #[test]
    fn a_refusal_is_json_wherever_that_is_welcome() {
        let of = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(accept).expect("a header"));
            Accept::of(&headers).of_refusal()
        };
        assert_eq!(of("text/event-stream, application/json;q=0.1"), Some(Media::Json));
        assert_eq!(of("text/event-stream, multipart/mixed"), Some(Media::EventStream));
        assert_eq!(of("multipart/mixed"), Some(Media::Multipart));
        assert_eq!(of("text/html"), None);
    }
}
