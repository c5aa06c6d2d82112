"""A go-push client works unchanged: each behaviour of go-push's JavaScript demo, from two foreign clients."""

import json
import time

import pytest

PING = '{"type":"PING","data":{}}'
PONG = '{"type":"PONG","data":{}}'


def join(room):
    return json.dumps({"type": "JOIN", "data": {"room": room}})


def leave(room):
    return json.dumps({"type": "LEAVE", "data": {"room": room}})


def push_frame(*items):
    return '{"type":"PUSH","data":{"items":[' + ",".join(items) + "]}}"


def settle(device):
    """What the device sent before has been acted upon: a shard answers in order."""
    device.send(PING)
    assert device.receive() == PONG


def expect_only_broadcasts(gateway, device, *rooms):
    """Pushes to the rooms, then to all: the device hears the latter first."""
    for room in rooms:
        assert gateway.push_form("/push/room", room=room, items='["not for you"]').status == 200
    assert gateway.push_form("/push/all", items='["for all"]').status == 200
    assert device.receive() == push_frame('"for all"')


def test_an_application_ping_is_answered_with_go_pushs_pong(gateway, device):
    client = device(gateway.port)
    client.send(PING)
    assert client.receive() == PONG


def test_a_ping_without_data_is_a_ping(gateway, device):
    client = device(gateway.port)
    client.send('{"type":"PING"}')
    assert client.receive() == PONG


def test_keys_are_case_insensitive_as_in_go(gateway, device):
    client = device(gateway.port)
    client.send('{"TYPE":"JOIN","Data":{"ROOM":"r"}}')
    settle(client)
    assert gateway.push_form("/push/room", room="r", items="[1]").status == 200
    assert client.receive() == push_frame("1")


def test_type_values_are_case_sensitive_and_unknown_ones_are_ignored(gateway, device):
    client = device(gateway.port)
    client.send('{"type":"ping","data":{}}')
    client.send('{"type":"SHOUT","data":{"room":"r"}}')
    settle(client)


def test_a_push_to_all_arrives_without_a_join(gateway, device):
    client = device(gateway.port)
    assert gateway.push_form("/push/all", items='[{"id":7}]').body == b""
    assert client.receive() == push_frame('{"id":7}')


def test_items_arrive_verbatim_and_in_order_in_one_frame(gateway, device):
    client = device(gateway.port)
    items = ['{"b":1,"a":[1.50,1e3,-0]}', '"\\u00e4\\n"', "null", '{"text":"ünïcödé"}', "18446744073709551616"]
    assert gateway.push_form("/push/all", items="[" + ",".join(items) + "]").status == 200
    assert client.receive() == push_frame(*items)


def test_a_room_hears_its_pushes_and_nobody_else_does(gateway, device):
    member, stranger = device(gateway.port), device(gateway.port)
    member.send(join("r"))
    settle(member)
    assert gateway.push_form("/push/room", room="r", items='["in r"]').status == 200
    assert member.receive() == push_frame('"in r"')
    expect_only_broadcasts(gateway, stranger)


def test_who_leaves_a_room_hears_it_no_more(gateway, device):
    client, witness = device(gateway.port), device(gateway.port)
    for member in (client, witness):
        member.send(join("r"))
        settle(member)
    client.send(leave("r"))
    settle(client)
    assert gateway.push_form("/push/room", room="r", items="[1]").status == 200
    assert witness.receive() == push_frame("1")
    expect_only_broadcasts(gateway, client)


def test_a_sixth_room_is_silently_ignored(gateway, device):
    client = device(gateway.port)
    for room in range(6):
        client.send(join(f"r{room}"))
    settle(client)
    assert [gateway.members(f"r{room}") for room in range(6)] == [1, 1, 1, 1, 1, 0]
    expect_only_broadcasts(gateway, client, "r5")


def test_a_room_left_makes_place_for_another(gateway, device):
    client = device(gateway.port)
    for room in range(5):
        client.send(join(f"r{room}"))
    client.send(leave("r0"))
    client.send(join("r5"))
    settle(client)
    assert gateway.push_form("/push/room", room="r5", items="[1]").status == 200
    assert client.receive() == push_frame("1")


def test_a_repeated_join_delivers_once_and_is_undone_by_one_leave(gateway, device):
    client = device(gateway.port)
    client.send(join("r"))
    client.send(join("r"))
    settle(client)
    assert gateway.push_form("/push/room", room="r", items="[1]").status == 200
    assert client.receive() == push_frame("1")
    client.send(leave("r"))
    settle(client)
    expect_only_broadcasts(gateway, client, "r")


def test_leaving_what_was_not_joined_is_silently_ignored(gateway, device):
    client = device(gateway.port)
    client.send(leave("nowhere"))
    settle(client)


@pytest.mark.parametrize("text", ["", "{", "PING", '{"type":"PING"} x', '{"type":}'])
def test_bad_json_is_closed_with_1007(gateway, device, text):
    client = device(gateway.port)
    client.send(text)
    assert client.closed() == 1007


@pytest.mark.parametrize(
    "text", ["[]", '"PING"', "7", '{"type":"JOIN"}', '{"type":"JOIN","data":{}}', '{"type":"LEAVE","data":{"room":""}}']
)
def test_a_bad_request_is_closed_with_1008(gateway, device, text):
    client = device(gateway.port)
    client.send(text)
    assert client.closed() == 1008


def test_binary_frames_are_ignored(gateway, device):
    client = device(gateway.port)
    client.send(b"{not json\xff")
    client.send(join("r").encode())
    settle(client)
    assert gateway.members("r") == 0


def test_a_websocket_ping_gets_its_payload_back(gateway, device):
    device(gateway.port).ping(b"hello")


def test_the_clients_close_code_is_echoed(gateway, device):
    device(gateway.port).close(3001, "enough")
    gateway.await_connections(0)


def test_rooms_of_the_query_are_joined_at_connect(gateway, device):
    client = device(gateway.port, "/connect?join=a&join=b%20c")
    for room in ("a", "b c"):
        assert gateway.push_form("/push/room", room=room, items=json.dumps([room])).status == 200
        assert client.receive() == push_frame(json.dumps(room))


def test_version_2_names_the_room(gateway, device):
    client = device(gateway.port, "/connect?v=2&join=r")
    assert gateway.push_form("/push/room", room="r", items="[1,2]").status == 200
    got = json.loads(client.receive())
    assert (got["type"], got["data"]["room"], got["data"]["items"]) == ("PUSH", "r", [1, 2])


def test_version_1_and_2_members_of_one_room_get_each_their_own_encoding(gateway, device):
    old, new = device(gateway.port, "/connect?join=r"), device(gateway.port, "/connect?v=2&join=r")
    assert gateway.push_form("/push/room", room="r", items="[1]").status == 200
    assert old.receive() == push_frame("1")
    assert json.loads(new.receive())["data"]["room"] == "r"


def test_a_template_joins_a_device_by_the_parameters_it_already_sends(start_gateway, tmp_path, device):
    config = tmp_path / "fanfare.toml"
    config.write_text('[clients]\nauto_join = ["{product_id}:{alias_key}", "region-{region}"]\n')
    gateway = start_gateway(arguments=("--config", str(config)))
    client = device(gateway.port, "/connect?product_id=p1&alias_key=home")
    assert gateway.push_form("/push/room", room="p1:home", items="[1]").status == 200
    assert client.receive() == push_frame("1")
    expect_only_broadcasts(gateway, client, "region-", "region-{region}")


def test_messages_published_within_the_merge_delay_ride_in_one_frame(start_gateway, redis, device):
    gateway = start_gateway(redis=redis.url, **{"merge.delay_ms": 200})
    client = device(gateway.port, "/connect?join=r")
    publisher = redis.client()
    publisher.pipeline([("PUBLISH", "fanfare:topic:r", n) for n in range(50)])
    items, frames = [], 0
    while len(items) < 50:
        items += json.loads(client.receive())["data"]["items"]
        frames += 1
    assert items == list(range(50))
    assert frames <= 3, "the first leaves at once, the rest is merged"


def test_a_lone_message_pays_no_merge_delay(start_gateway, device):
    gateway = start_gateway(**{"merge.delay_ms": 5_000})
    client = device(gateway.port)
    before = time.monotonic()
    assert gateway.push_form("/push/all", items="[1]").status == 200
    assert client.receive() == push_frame("1")
    assert time.monotonic() - before < 2.5
