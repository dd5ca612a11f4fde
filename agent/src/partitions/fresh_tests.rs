//! What a node says that has just started, beside others that have been there for longer.

use config_schemas::documents::{self, Ack};
use config_schemas::keys::Key;

use super::world_tests::{World, life_of, until};

#[tokio::test]
async fn a_new_node_has_seen_the_deletion_of_an_edit_that_it_never_saw() {
    let world = World::new().await;
    let edit = Key::Override("hunt/heartbeat/interval".to_owned());
    world.put(&edit, b"300ms");
    world.delete(&edit);
    let deleted_at = world.etcd.look(|store| store.revision());
    let node = world.node("a", 1);
    let key = Key::Ack(life_of("a", 1).node);
    let acked = || {
        let ack = documents::read::<Ack>(world.at(&key)?.as_bytes()).ok()?;
        Some(ack.revision?.to_etcd())
    };
    until("the deletion is acked", || acked() >= Some(deleted_at)).await;
    node.stop().await;
}
