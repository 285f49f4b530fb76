"""Which role process variables state: by name, or by what they are at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cade.frames import Role
from daemon.settings import EpicsSettings
from daemon.settings.epics_roles import ConditionSettings, RoleRuleSettings
from daemon.sources.pv_board import PvState
from daemon.sources.pv_report import PvReport
from daemon.sources.pv_value import is_near, number_of, role_of_value, text_of

StateOf = Callable[[str], PvState]


@dataclass(frozen=True, slots=True)
class StatedRole:
    """What the PVs say.

    Not `known`: one of them is silent, so that nobody can tell. A `problem`: they say that frames
    are none of the roles. Else `role`, or None where they leave it to the other settings.
    """

    role: Role | None = None
    known: bool = True
    problem: str = ""


UNKNOWN = StatedRole(known=False)


class RoleByPv:
    """Asks the PVs for the role.

    Args:
        settings: `role_pv`, or the rules of which the first that holds decides.
        report: takes values that cannot be used.
    """

    def __init__(self, settings: EpicsSettings, report: PvReport) -> None:
        self._settings, self._report = settings, report

    def stated(self, state_of: StateOf) -> StatedRole:
        """The role by the PVs' states."""
        if self._settings.role_pv:
            return self._named(state_of(self._settings.role_pv))
        if self._settings.roles:
            return self._ruled(state_of)
        return StatedRole()

    def _named(self, state: PvState) -> StatedRole:
        if not state.is_known:
            return UNKNOWN
        try:
            return StatedRole(role_of_value(state.value, state.states))
        except ValueError as error:
            self._report.warn(self._settings.role_pv, f"states no role: {error}")
            return StatedRole()

    def _ruled(self, state_of: StateOf) -> StatedRole:
        for rule in self._settings.roles:
            holds = self._holds(rule, state_of)
            if holds is None:
                return UNKNOWN  # a rule further down must not decide instead
            if holds:
                return StatedRole(rule.role)
        names = {c.pv: None for rule in self._settings.roles for c in rule.when}
        values = ", ".join(f"{name} is {_short(state_of(name))}" for name in names)
        return StatedRole(problem=f"no rule of epics.roles holds: {values}")

    def _holds(self, rule: RoleRuleSettings, state_of: StateOf) -> bool | None:
        """Whether all conditions hold; None where that depends on one that nobody knows."""
        met = [self._is_met(condition, state_of(condition.pv)) for condition in rule.when]
        if False in met:
            return False
        return None if None in met else True

    def _is_met(self, condition: ConditionSettings, state: PvState) -> bool | None:
        if not state.is_known:
            return None
        try:
            if isinstance(condition.equals, str):
                text = text_of(state.value, state.states)
                return text.casefold() == condition.equals.strip().casefold()
            number = number_of(state.value)
            if not state.is_trusted:
                raise ValueError("is in alarm INVALID")
            return is_near(number, condition.equals, condition.tolerance)
        except ValueError as error:
            self._report.warn(condition.pv, f"{error}; epics.roles cannot use it")
            return None


def _short(state: PvState) -> str:
    try:
        return text_of(state.value, state.states)[:40]
    except ValueError:
        return "an array"
