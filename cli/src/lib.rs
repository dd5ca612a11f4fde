//! `hunt`: what a person asks of a live hunt, from etcd alone or from the agents themselves, and
//! `hunt dev`, which runs everything on one machine.
//!
//! Read `args` first (what can be asked), then `fleet` (what etcd says, typed; pure), `commands`
//! (one file each: a pure view, and thin reading and writing around it) and `wait` (is it live
//! everywhere?). `shown` turns views into text, JSON or YAML.

pub mod args;
pub mod commands;
pub mod dev;
pub mod entry;
pub mod failure;
pub mod fleet;
pub mod http;
pub mod last_good;
pub mod load;
pub mod reach;
pub mod screen;
pub mod shown;
pub mod wait;
