//! Answers that hyper gives by itself, before there is a request: 400 to an unreadable head, 431 to too large a head.
//! They pass no route, so this file adds the headers that every answer has (`headers.rs`) when they are written.
//!
//! Such an answer is one head without a body, in one piece, and the connection ends after it. HTTP/2 has no such
//! answers: a fault of a stream or connection is said in frames, and hyper answers too large a head in a frame of its
//! own.

use super::headers;

/// The beginnings of such answers.
const BEGINNINGS: [&[u8]; 3] = [b"HTTP/1.1 400 ", b"HTTP/1.1 431 ", b"HTTP/1.1 414 "];

/// The header by which an answer of a route is recognised.
const OF_A_ROUTE: &[u8] = b"x-content-type-options:";

/// Returns the bytes to write instead, if these bytes are an answer of hyper's own.
pub(super) fn guarded(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_one = BEGINNINGS.iter().any(|beginning| bytes.starts_with(beginning)) && bytes.ends_with(b"\r\n\r\n");
    if !is_one || bytes.windows(OF_A_ROUTE.len()).any(|at| at.eq_ignore_ascii_case(OF_A_ROUTE)) {
        return None;
    }
    let status = bytes.windows(2).position(|at| at == b"\r\n")? + 2;
    Some([&bytes[..status], headers::lines().as_bytes(), &bytes[status..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_route_has_answered_is_guarded() {
        let answer = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let guarded_answer = String::from_utf8(guarded(answer).expect("an answer of hyper's")).expect("ASCII");
        assert!(
            guarded_answer
                .starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\nx-content-type-options: nosniff\r\n")
        );
        assert!(guarded_answer.contains("\r\ncache-control: no-store\r\nconnection: close\r\n"));
        assert_eq!(guarded(guarded_answer.as_bytes()), None, "it is guarded already");
        for other in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\n\r\nhello", ""] {
            assert_eq!(guarded(other.as_bytes()), None, "{other}");
        }
    }
}
