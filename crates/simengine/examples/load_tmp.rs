//! Temporary.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let addr = a[1].clone();
    let conc: usize = a[2].parse().unwrap();
    let per: usize = a[3].parse().unwrap();
    let words: usize = a[4].parse().unwrap();
    let maxt: usize = a[5].parse().unwrap();
    let scale: f64 = a[6].parse().unwrap();
    let t0 = Instant::now();
    let hs: Vec<_> = (0..conc).map(|c| {
        let addr = addr.clone();
        std::thread::spawn(move || {
            let mut out = vec![];
            let mut s = TcpStream::connect(&addr).unwrap();
            s.set_nodelay(true).unwrap();
            for r in 0..per {
                let mut p = format!("{c} {r} Summarise this: ");
                for w in 0..words { p.push_str(["sea ","ship ","captain ","harbour "][(w*7+c*3+r)%4]); }
                let body = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{p}\"}}],\"max_tokens\":{maxt},\"ignore_eos\":true,\"temperature\":0,\"stream\":true,\"stream_options\":{{\"include_usage\":true,\"continuous_usage_stats\":true}}}}");
                let req = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let t = Instant::now();
                s.write_all(req.as_bytes()).unwrap();
                let mut buf = [0u8; 65536];
                let mut tail: Vec<u8> = vec![];
                let mut first = None;
                loop {
                    let n = s.read(&mut buf).unwrap();
                    if n == 0 { panic!("eof"); }
                    let now = t.elapsed().as_secs_f64();
                    tail.extend_from_slice(&buf[..n]);
                    if first.is_none() && tail.windows(22).any(|w| w == b"\"completion_tokens\":1,") { first = Some(now); }
                    if tail.ends_with(b"0\r\n\r\n") && tail.len()>20 && tail.windows(6).any(|w| w==b"[DONE]") { out.push((first.unwrap(), now)); break; }
                    if tail.len() > 4096 && first.is_some() { let k = tail.len()-512; tail.drain(..k); }
                }
            }
            out
        })
    }).collect();
    let mut all: Vec<(f64, f64)> = vec![];
    for h in hs {
        all.extend(h.join().unwrap());
    }
    let el = t0.elapsed().as_secs_f64();
    let n = all.len() as f64;
    let ttft = all.iter().map(|x| x.0).sum::<f64>() / n * scale;
    let tpot = all.iter().map(|x| (x.1 - x.0) / (maxt as f64 - 1.0)).sum::<f64>() / n * scale;
    println!(
        "{} requests {:.3} engine req/s, ttft {:.3} s, tpot {:.2} ms, wall {el:.1}",
        all.len(),
        n / (el * scale),
        ttft,
        tpot * 1e3
    );
}
