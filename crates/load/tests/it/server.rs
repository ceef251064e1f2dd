//! A scripted HTTP server on port 0: a thread for each connection, and for each request a list of acts by its number.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

/// What the server does with one request.
pub(crate) enum Act {
    /// Writes bytes.
    Say(Vec<u8>),
    /// Writes bytes one by one.
    Dribble(Vec<u8>),
    /// Goes on once this holds of the server's state.
    WaitFor(Box<dyn Fn(&State) -> bool + Send>),
    /// Counts the request as answered.
    Answered,
    /// Reads and drops what else the client sends.
    Drain,
    /// Says nothing more until the server is dropped.
    Hang,
    /// Closes the connection properly.
    Close,
    /// Breaks the connection.
    Reset,
}

impl Act {
    pub(crate) fn say(text: impl Into<String>) -> Self {
        Self::Say(text.into().into_bytes())
    }

    pub(crate) fn wait_for(reached: impl Fn(&State) -> bool + Send + 'static) -> Self {
        Self::WaitFor(Box::new(reached))
    }
}

/// What the server has seen.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) connections: usize,
    /// Heads and bodies, in order of arrival.
    pub(crate) requests: Vec<(String, String)>,
    pub(crate) in_flight: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) measured_answered: usize,
    closing: bool,
}

type Script = dyn Fn(usize, &str) -> Vec<Act> + Send + Sync;

pub(crate) struct Server {
    pub(crate) url: String,
    address: std::net::SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Server {
    /// `script` gets the request's number from 0 and its body.
    pub(crate) fn start(script: impl Fn(usize, &str) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let script: Arc<Script> = Arc::new(script);
        let server = Self {
            url: format!("http://{address}/v1/chat/completions"),
            address,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.0.lock().unwrap().closing {
                    return;
                }
                shared.0.lock().unwrap().connections += 1;
                let (shared, script) = (Arc::clone(&shared), Arc::clone(&script));
                std::thread::spawn(move || serve(stream.unwrap(), &shared, &*script));
            }
        });
        server
    }

    pub(crate) fn state<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.shared.0.lock().unwrap())
    }

    /// Waits until the server's state is so.
    pub(crate) fn wait_for(&self, reached: impl Fn(&State) -> bool) {
        wait(&self.shared, reached);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.0.lock().unwrap().closing = true;
        self.shared.1.notify_all();
        // Wakes the accepting thread so that it ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn wait(shared: &(Mutex<State>, Condvar), reached: impl Fn(&State) -> bool) -> bool {
    let state = shared.0.lock().unwrap();
    // The limit only ends a test that has already failed.
    let (state, out) = shared
        .1
        .wait_timeout_while(state, Duration::from_secs(20), |s| !s.closing && !reached(s))
        .unwrap();
    assert!(
        !out.timed_out(),
        "in flight {}, requests {}",
        state.in_flight,
        state.requests.len()
    );
    !state.closing
}

fn serve(mut stream: TcpStream, shared: &(Mutex<State>, Condvar), script: &Script) {
    while let Some((head, body)) = read_request(&mut stream) {
        let number = {
            let mut state = shared.0.lock().unwrap();
            state.requests.push((head, body.clone()));
            state.in_flight += 1;
            state.max_in_flight = state.max_in_flight.max(state.in_flight);
            shared.1.notify_all();
            state.requests.len() - 1
        };
        let mut answered = false;
        for act in script(number, &body) {
            match act {
                Act::Say(bytes) => drop(stream.write_all(&bytes)),
                Act::Dribble(bytes) => bytes.iter().for_each(|b| drop(stream.write_all(&[*b]))),
                Act::WaitFor(reached) => {
                    if !wait(shared, reached) {
                        return;
                    }
                }
                Act::Answered => {
                    answered = true;
                    end(shared, &body);
                }
                Act::Drain => drop(stream.read(&mut vec![0; 1 << 22])),
                Act::Hang => {
                    wait(shared, |_| false);
                    return;
                }
                Act::Close => {
                    end(shared, &body);
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
                Act::Reset => {
                    end(shared, &body);
                    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                    return;
                }
            }
        }
        if !answered {
            end(shared, &body);
        }
    }
}

fn end(shared: &(Mutex<State>, Condvar), body: &str) {
    let mut state = shared.0.lock().unwrap();
    state.in_flight -= 1;
    state.measured_answered += usize::from(body.contains("measured"));
    shared.1.notify_all();
}

pub(crate) fn read_request(stream: &mut impl Read) -> Option<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "))
        .unwrap_or("0")
        .parse()
        .unwrap();
    // A body that announces itself as huge is left on the wire for `Drain`.
    let mut body = vec![0; if length > 1 << 20 { 0 } else { length }];
    stream.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}
