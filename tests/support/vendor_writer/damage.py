"""What goes wrong with studies on their way, as operators on a study whose truth is known.

Every operator leaves a study from which the right pair can still be made, or a sign by which a careful reader sees that
it cannot. What no reader could see is left out on purpose: all images moved, scaled or exchanged in one consistent way.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from support.vendor_writer import damage_images, damage_meaning
from support.vendor_writer.study import Study

Damage = Callable[[Study, Random], None]

DAMAGES: dict[str, Damage] = {
    operator.__name__: operator
    for operator in (
        damage_meaning.drop_diffusion,
        damage_meaning.blank_diffusion,
        damage_meaning.private_garbage,
        damage_meaning.drop_private,
        damage_meaning.contradict_b,
        damage_meaning.contradict_private_b,
        damage_meaning.swap_names,
        damage_meaning.call_it,
        damage_meaning.trace_called_map,
        damage_meaning.map_called_trace,
        damage_images.drop_plain,
        damage_images.garble_plain,
        damage_images.lose_slices,
        damage_images.repeat_slice,
        damage_images.same_uid_twice,
        damage_images.move_slice,
        damage_images.turn_slice,
        damage_images.scale_wrongly,
        damage_images.lie_about_unit,
        damage_images.cut_pixels,
        damage_images.miscount_frames,
        damage_images.other_frame_of_reference,
        damage_images.other_study,
        damage_images.other_body_part,
        damage_images.stranger,
    )
}
LIES = frozenset(
    {"contradict_b", "contradict_private_b", "swap_names", "call_it", "trace_called_map", "map_called_trace"}
)
"""Operators that write something false about what an image is: one of them a study, and no loss beside it, for a lie
with nothing left to contradict it cannot be seen."""
LOSSES = frozenset({"drop_diffusion", "blank_diffusion", "private_garbage", "drop_private"})
"""Operators that take away what tells what an image is."""
