//! How a running emulator is looked at and disturbed: a line of JSON in, a line of JSON out.
//!
//! ```text
//! {"op":"summary"}                                                        ─▶ {"ok":{"machines":100,"stages":{…}}}
//! {"op":"list","machines":[3,7]}                                          ─▶ {"ok":[{"number":3,"uuid":…},…]}
//! {"op":"faults","machines":"all","set":{"silent":true,"delay_ms":200}}   ─▶ {"ok":100}
//! {"op":"power","machines":3,"on":false}                                  ─▶ {"ok":1}
//! {"op":"add","count":10,"uuid":"00000000-0000-0000-0000-000000000000"}   ─▶ {"ok":[100,101,…]}
//! {"op":"nonsense"}                                                       ─▶ {"error":"…"}
//! ```
//!
//! The protocol is a function; [`serve`] puts it on a socket. A page in a browser may use it the same way.

mod protocol;
mod socket;

pub use protocol::answer;
pub use socket::serve;
