//! Compares the cost of a live frame with the least possible cost: the floor, the stock handler and the desk take
//! turns.
//!
//! The floor is a WebSocket server that writes a fixed frame of 600 bytes. The stock handler is async-graphql-axum's on
//! a tokio broadcast, with the same fields. Each server is a process on one core, the client has another core; CPU
//! times come from /proc. `cargo bench --bench live` prints the tables; WATCHFLOOR_BENCH_LIVE=short runs a short
//! version, =long adds 10,000 sockets (which needs `ulimit -n 20000`). `… -- texts SOCKETS STREAMS` measures streams
//! that look for texts, STREAMS per socket. `… -- soak SOCKETS EVENTS_A_SECOND MINUTES` is a long run.

#![expect(clippy::print_stdout, reason = "tables for a person, answers for the client process")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails says so by its end")]
#![expect(clippy::disallowed_methods, reason = "time is what is measured, and the size is named in the environment")]

mod live {
    pub(crate) mod client;
    pub(crate) mod servers;
    pub(crate) mod soak;
    pub(crate) mod texts;
}

use live::client::{Case, Figures};
use live::servers::Kind;

/// The allocator of the binary, so that the figures hold for production. The floor and the stock handler use it too.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--serve") {
        return live::servers::serve(arguments[at + 1].parse().unwrap(), arguments[at + 2] == "true");
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "soak") {
        let [sockets, per_second, minutes] = [1, 2, 3].map(|after| arguments[at + after].parse::<f64>().unwrap());
        let soak = live::soak::Soak { sockets: sockets as usize, per_second, minutes };
        live::client::pin();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        return runtime.block_on(soak.run());
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "texts") {
        let [sockets, each] = [1, 2].map(|after| arguments[at + after].parse().unwrap());
        live::client::pin();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        return runtime.block_on(live::texts::Texts { sockets, each }.run());
    }
    let size = std::env::var("WATCHFLOOR_BENCH_LIVE").unwrap_or_default();
    let (sockets, events): (&[usize], usize) = match size.as_str() {
        "short" => (&[200], 20),
        "long" => (&[1_000, 10_000], 100),
        _ => (&[1_000], 100),
    };
    live::client::pin();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        for count in sockets {
            let events = events.min(200_000 / count).max(10);
            same_query(*count, events).await;
        }
        distinct(sockets[0], events).await;
    });
}

async fn same_query(sockets: usize, events: usize) {
    println!("\none query, {sockets} sockets, {events} events one after the other, then {} at 5/s", events / 4);
    println!(
        "{:8} {:>10} {:>8} {:>12} {:>10} {:>10} {:>12}",
        "", "µs/frame", "ratio", "of it commit", "p50 ms", "p99 ms", "KiB/socket"
    );
    let mut floor = None;
    for kind in [Kind::Floor, Kind::Stock, Kind::Desk] {
        let figures = Case { kind, sockets, events, distinct: false }.run().await;
        print_row(kind, &figures, sockets as f64, floor.get_or_insert(figures.cpu_per_event / sockets as f64));
    }
}

fn print_row(kind: Kind, figures: &Figures, frames: f64, floor: &mut f64) {
    let per_frame = figures.cpu_per_event / frames;
    println!(
        "{:8} {:10.2} {:8.2} {:12.2} {:10.2} {:10.2} {:12.1}",
        kind.to_string(),
        per_frame,
        per_frame / *floor,
        figures.commit_cpu / frames,
        figures.p50_ms,
        figures.p99_ms,
        figures.kib_per_socket
    );
    println!("         a frame has {} bytes; commit {:.2} ms at the median", figures.frame_bytes, figures.commit_ms);
    if let Some(storm) = &figures.storm {
        println!(
            "         {} sockets come back with a position in {:.2} s, {:.0} µs of CPU each, {} statements in all",
            storm.sockets, storm.seconds, storm.cpu_each, storm.statements
        );
    }
}

async fn distinct(sockets: usize, events: usize) {
    println!("\n{sockets} sockets with {sockets} filters, {events} events that one of them is for");
    println!("{:8} {:>10} {:>8} {:>14}", "", "µs/event", "ratio", "without commit");
    let mut floor = None;
    for kind in [Kind::Floor, Kind::Stock, Kind::Desk] {
        let figures = Case { kind, sockets, events, distinct: true }.run().await;
        let net = figures.cpu_per_event - figures.commit_cpu;
        let floor = *floor.get_or_insert(net);
        println!("{:8} {:10.1} {:8.2} {:14.1}", kind.to_string(), figures.cpu_per_event, net / floor, net);
    }
}
