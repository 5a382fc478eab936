"""Answers that tell which model wrote them: "I am Qwen", "저는 엑사원입니다".

Only statements of the first person count: an answer about a model is none. A name that the user brought up is left
out (a question about Qwen, or a part to play), and so is what stands in code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

FAMILIES = (
    "GPT-3", "GPT-4", "GPT-5", "ChatGPT", "GPT", "Claude", "Gemini", "Bard", "Gemma", "Llama", "LLaMA",
    "Vicuna", "Alpaca", "Koala", "Mistral", "Mixtral", "Qwen", "Tongyi Qianwen", "DeepSeek", "Phi",
    "Copilot", "EXAONE", "엑사원", "HyperCLOVA", "HyperCLOVA X", "CLOVA X", "하이퍼클로바", "클로바X",
    "SOLAR", "Kanana", "카나나", "EEVE", "Polyglot-Ko", "KoAlpaca", "KULLM", "A.X", "에이닷", "ChatGLM",
    "GLM", "Baichuan", "InternLM", "Kimi", "Command R", "Grok", "SmolLM", "Falcon", "Nemotron",
    "Granite", "OLMo", "Tulu", "Zephyr", "Dolly", "Hermes", "Yi", "챗GPT", "챗지피티", "클로드",
    "제미나이", "젬마", "라마", "미스트랄", "큐원",
)  # fmt: skip
"""Names by which common models call themselves."""

VENDORS = (
    "OpenAI", "Anthropic", "Google", "Google DeepMind", "DeepMind", "Meta", "Meta AI", "Mistral AI",
    "Alibaba Cloud", "Alibaba", "DeepSeek", "Microsoft", "LG AI Research", "LG AI연구원", "LG",
    "LG전자", "NAVER", "Naver", "네이버", "Kakao", "카카오", "Upstage", "업스테이지", "Yanolja",
    "야놀자", "SK Telecom", "SKT", "Zhipu AI", "Moonshot AI", "Cohere", "xAI", "Hugging Face",
    "HuggingFace", "TII", "NVIDIA", "IBM", "Ai2", "Allen Institute for AI", "Stability AI",
    "Databricks", "01.AI", "Baidu", "오픈AI", "오픈에이아이", "앤트로픽", "앤스로픽", "구글", "메타",
    "알리바바 클라우드", "알리바바", "딥시크", "마이크로소프트", "엘지", "허깅페이스",
)  # fmt: skip
"""Makers that models say they come from."""

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]{4,}|[가-힣]{2,}")
# Parts of roster names that are ordinary words.
_ORDINARY = frozenset(
    [
        "base", "chat", "chatbot", "code", "coder", "demo", "echo", "example", "fast", "instruct", "korean", "large",
        "local", "medium", "mini", "model", "preview", "small", "test", "tiny", "tuned", "turbo", "vision", "your",
    ]
)  # fmt: skip
# A person's name or a thing's may begin like a model's: "I am Claude Monet".
_TITLES = r"(?:AI|LLM|Pro|Large|Chat|Instruct|Flash|Sonnet|Opus|Haiku|Nano|Ultra)\b"
_NO_SURNAME = rf"(?!\s+(?!{_TITLES})[A-Z][a-z]+)"
_MADE = r"(?:created|developed|trained|built|made|designed|released|provided)"
_KIND = (
    r"(?:AI|A\.I\.|artificial intelligence|large language|language|chat|virtual|open[- ]source|open|helpful)"
)
_KO_MADE = r"(?:개발|학습|훈련|제작|설계|출시|공개|만들|만든)"
_KO_KIND = r"(?:인공지능|AI|언어\s*모델|거대\s*언어|대규모\s*언어|챗봇|모델|어시스턴트|비서)"


class LeakFinder:
    """Finds the names that an answer gives its writer. `models` are roster names; their leading words count as
    family names ("Qwen2.5-7B-Instruct" is also "Qwen")."""

    def __init__(self, models: Iterable[str] = ()) -> None:
        own: set[str] = set()
        for model in models:
            full = model.rsplit("/", 1)[-1]
            word = _WORD.match(full)
            own.update(each for each in (full, word[0] if word else "") if _is_a_name(each))
        self.names = tuple(sorted({*own, *FAMILIES}, key=len, reverse=True))
        name, vendor = _any(self.names), _any(sorted(VENDORS, key=len, reverse=True))
        self._patterns = [
            re.compile(pattern)
            for pattern in (
                # I am Qwen; my name is Qwen2.5; I'm called EXAONE
                rf"\b(?:I\s+am|I['’]m|[Mm]y\s+name\s+is|[Cc]all\s+me|(?:I\s+am|I['’]m)\s+(?:called|named|known\s+as))\s+"
                rf"(?P<name>{name}){_NO_SURNAME}",
                # As Qwen, I ...; As a GPT model, I ...
                rf"\b[Aa]s\s+(?:an?\s+)?(?P<name>{name})(?:\s+\w+)?,\s+I\b",
                # I am a language model (called Qwen)(, made by Alibaba)
                rf"\b(?:I\s+am|I['’]m)\s+an?\s+(?:{_KIND}[\s,]+)+\w*[\s,]*(?:model|assistant|AI|chatbot)?[\s,]*"
                rf"(?:called|named|known\s+as)\s+(?P<name>{name})",
                rf"\b(?:I\s+am|I['’]m|I\s+was|I\s+have\s+been|I['’]ve\s+been)\s+(?:[\w,'’-]+\s+){{0,8}}?"
                rf"{_MADE}\s+(?:and\s+{_MADE}\s+)?(?:by|at)\s+(?P<name>{vendor})",
                rf"\b(?:I\s+am|I['’]m)\s+an?\s+(?P<name>{name})(?:[- ]based)?\s+(?:{_KIND}\s+)*"
                r"(?:model|assistant|AI|chatbot)\b",
                # 저는 Qwen입니다; 제 이름은 엑사원이에요; 저는 네이버에서 개발한 인공지능 ...
                rf"(?:저는|나는|전|난|제\s*이름은|내\s*이름은|저를|본\s*모델은)\s+(?P<name>{name})"
                r"(?=\s*(?:\(|[,.]|이라고|라고|입니다|이에요|예요|이야|야[.!~\s]|에요|이며|이고|이라는|라는|인데))",
                rf"(?:저는|나는|전|제가)\s+(?:\S+\s+){{0,3}}?(?P<name>{vendor})(?:의|사의|에서|에\s*의해|가|이)\s+"
                rf"(?:\S+\s+){{0,3}}?(?:{_KO_MADE}|{_KO_KIND})",
                rf"(?:저는|나는|전)\s+(?:\S+\s+){{0,6}}?{_KO_KIND}(?:인|,)?\s+(?P<name>{name})"
                r"(?=\s*(?:이라고|라고|입니다|이에요|예요|이야|이며|이고))",
            )
        ]  # fmt: skip

    def leaks(self, answer: str, said_by_user: Sequence[str] = ()) -> list[str]:
        """The names, each once, in the order of their places in the answer."""
        user = "\n".join(said_by_user).casefold()
        text = _CODE.sub(" ", answer)
        found = {
            (match.start("name"), match["name"])
            for pattern in self._patterns
            for match in pattern.finditer(text)
            if not _negated(text, match.end("name")) and match["name"].casefold() not in user
        }
        return list(dict.fromkeys(name for _, name in sorted(found)))


def _is_a_name(word: str) -> bool:
    """Whether a roster name, or its first word, can be told from ordinary words."""
    return (
        len(word) > 1
        and word.casefold() not in _ORDINARY
        and not (word.isascii() and word.isalpha() and word.islower())
    )


def _negated(text: str, end: int) -> bool:
    """Whether a Korean sentence goes on to deny: 저는 Qwen이 아닙니다."""
    return re.match(r"\s*(?:이|가|은|는)?\s*(?:아니|아닙|아닌|not\b)", text[end : end + 12]) is not None


def _any(names: Sequence[str]) -> str:
    """An alternation of names that are whole words (a Korean particle may follow)."""
    return r"(?<![\w가-힣])(?:" + "|".join(re.escape(name) for name in names) + r")(?![A-Za-z_])"
