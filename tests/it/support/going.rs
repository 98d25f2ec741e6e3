//! A streaming HTTP response, read as it arrives.

use serde_json::Value;

use super::waiting::PATIENCE;

/// The way in which a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As a complete response.
    Whole,
    /// Its connection broke, so the client knows that something is missing.
    Broken,
}

/// One streaming response.
pub(crate) struct Going {
    response: reqwest::Response,
    read: Vec<u8>,
    ended: Option<Ended>,
}

impl Going {
    /// Sends the request, and returns once its response has begun.
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = tokio::time::timeout(PATIENCE, request.send()).await.expect("in time").expect("a response");
        Self { response, read: Vec::new(), ended: None }
    }

    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.response.headers().get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// Reads more bytes; returns false at the end.
    async fn read_on(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        match tokio::time::timeout(PATIENCE, self.response.chunk()).await {
            Err(_) => panic!("nothing comes any more after {:?}", String::from_utf8_lossy(&self.read)),
            Ok(Ok(Some(chunk))) => self.read.extend_from_slice(&chunk),
            Ok(Ok(None)) => self.ended = Some(Ended::Whole),
            Ok(Err(_)) => self.ended = Some(Ended::Broken),
        }
        self.ended.is_none()
    }

    /// Checks that exactly these bytes come next.
    pub(crate) async fn says(&mut self, text: &str) {
        while self.read.len() < text.len() && self.read_on().await {}
        let length = self.read.len().min(text.len());
        let said: Vec<u8> = self.read.drain(..length).collect();
        assert_eq!(String::from_utf8_lossy(&said), text);
    }

    /// Returns the text up to and including `mark`.
    pub(crate) async fn up_to(&mut self, mark: &str) -> String {
        loop {
            let found = self.read.windows(mark.len()).position(|window| window == mark.as_bytes());
            if let Some(at) = found {
                let said = self.read.drain(..at + mark.len()).collect();
                return String::from_utf8(said).expect("UTF-8");
            }
            assert!(self.read_on().await, "it ended before {mark:?}: {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Returns the remaining text, and how the response ends.
    pub(crate) async fn end(mut self) -> (String, Ended) {
        // One deadline for the whole: keep-alive signs never let a live response fall silent.
        let whole = async { while self.read_on().await {} };
        tokio::time::timeout(PATIENCE, whole).await.expect("the response ends");
        (String::from_utf8(self.read).expect("UTF-8"), self.ended.expect("it ended"))
    }

    /// Returns the next event of an event stream: its `id` and its data.
    pub(crate) async fn event(&mut self) -> (Option<String>, Value) {
        loop {
            let text = self.up_to("\n\n").await;
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
            if let Some(data) = field("data: ") {
                assert_eq!(field("event: "), Some("next"), "{text}");
                return (field("id: ").map(str::to_owned), serde_json::from_str(data).expect("JSON"));
            }
            assert!(text.starts_with(':'), "an event that must not come: {text}");
        }
    }

    /// Returns the payload of the next multipart part that has a payload.
    pub(crate) async fn part(&mut self) -> Value {
        loop {
            let text = self.up_to("\r\n--graphql").await;
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            assert_eq!(head, "\r\ncontent-type: application/json");
            let mut body: Value = serde_json::from_str(&body[..body.len() - "\r\n--graphql".len()]).expect("JSON");
            if let Some(payload) = body.get_mut("payload") {
                return payload.take();
            }
        }
    }
}
