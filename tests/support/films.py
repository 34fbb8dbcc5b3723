"""Small films of 4 frames of 16x16 pixels.

They are grey of 40, 90, 140 and 190, with half the blue in the left half. No library of the tests can write MP4 and
Matroska: FFmpeg encoded these as H.264 and as MPEG-4, and here they are compressed and written as text. This Matroska
does not tell its number of frames.
"""

import base64
import io
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

GREYS = (40, 90, 140, 190)
_MP4 = (
    "c-nnby^kA36d&Imk%g|fNQt=OiitQxBAxBs^@lEokvN?qTo5S@X$Wj)XJ)-C@5gv%?6cG4BBdar08yM!iXc%yg9H^62qYwEfIomp6iI_Z1C&=JF>"
    "lsB>>MGpJM-SW_j~WndvA6TLO3*I8S6YnXbD*g)1yP?rn2E8gvy~30-<G;a%uqc$%*GClRLj%_~YB(?{>aE*!mUUeeut~MqaCdE12a<V7Ju-wo?U"
    "B?c${iuU8s)=khM-xL}~z&E+@|p~0Tx)GMCjS#)HKY}aagdwbPk%tfBiteUHC&HAlICQSg7OB3grZevCR%7}}V2#MRmTm(tZdc<kNgK0*Su@=M`)"
    "!WX<t=DlX$RLfd9t6O-4wiZh#<2Q|6SwMs6)ZT7M}qr>PcZQn&ANhk4a_2yr_{H$*eH=Cu_hkg9&K}GK*ahfao`M;U&}KvaJO6+hg2J1>Rv1@V(O"
    "qT{X7h{Fr?yP6DhFJpiT0;M<dwybD2(JCguVMXR3(7;*=VDjyN+yB@{p)50ZhRW1r=zqz3j3iewaxGjIVwMJ*;&G!>d`<G`0=;A0L+1U}_dnt}^r"
    "Y9sMj3COFC_e9){OaQ@hDKfvCOVCb*5)67`48DoibY`rd#+j|IW+D@8U`WHkMRZ$IC3FPliuwPhOImhMm<n+kKwWKGupwT(>fpXjhB#Hg^rdxNP&"
    "y*5^T22$Bx&GSLX+T1Ko21n?Gv|cyNUMU)}9pa-ax0XKhCdw_|m6`wfoWAR=9J!eDT%`55GG2<=$J9@5M(JSuWjKd->e;dpCez-?_ck`y2D0sQ2j"
    "XkLUJpedqh@R~tWn3HQI5=J^mXNji);dSWa;K&bQqDk1yMN9jq_@%?M)nPUmwn^3+U@K;Q)h`Ib<Zx9zfJI+(%uFWPwn}Qn+bVDTC%q^_n^31mMF"
    "y%1?2B-XZ?q>@}Z~jnhDiKfAk;Z<<i^$9NyYA48C&FS%pFv+kU``Fw!s+5MH~Cbz!Qt{Oq_H|s37#FWt4)vq|AjW1FJL~lKd=8Og+1#U>HzH=Ay("
    "f2JWk@k{%W4qi1o<?)+V5KOB_8vxsTSnKtES2@7%O4S+UEdS33tM_e<zR^kDb>t@j=s9$M2=aIt4KedX$rJ8g=3A02O{cmWG(EXwV4*c`hum6d1u"
    ")frtu3-S%{!H)Tu*`ZC)U0X;C<V)WGJ&mT$Hl}A_`GUOzlMJ}Ay>F(Xpmv;D>@(aAMWsv@YgUfoGW`SK6Kxv"
)
_MATROSKA = (
    "c-oV4y}x*|Q(GgW({~{L)X3uWxsk)EsUtVBq$s~QJJG2fDAd}>BoW+@&d2})Olt*wXO|q<-@<e-ceU^C?%>reqMj?$g4Z-Igz&^d)@1{EXMA_}0C"
    "_?ohtq@CG%?0OxH7@Jfs##3v2P%zF$6PEAAsDmY=6tu{z<l4*EcrvJ306^wD=^JrG-0!DVNR;hf0W2kYgQs_P1<}a|m7sbyDs1M#kc!9Z<s<=QJ`"
    "XZJpCxnwQei$k5gw7VjJ2>TaU%8SJm`7#z^t$f*3dxrO!XLxu-aHZ%(CY805&$P}`vktK9POX$u<#?W_-3^30!F)$=Ang=v<15ki*Yo{=f1X-cLa"
    "HO|`A(WwoNhBE*U|09I+-A7tR$P20`9OCv!YSz|rn@d~clC4jcX17JY3~AhCRri3AT`}2{lr4o#T_o8L5?Aw{(dg)lMM{4z(~);016o7owt=b%-`"
    "Q~OzlI=^G1fnK#wsr08QP@Aixf!wh0`VaWLL@+7uVbmaFF%FKT2+L6#LfFyqjn-mVsb1PvaRgP#@Hlld1fYh*ZqtVZa-j9+g%m;)+2SPnk2|H^)*"
    "LHCxETK(cxjf^_T>Vyx>I2<_b(1OGlHY&^sALV~EKXZ^vS}2ktydRW6PVaB=og({rcmL)_hV5Ozg!!?FamR;7PLMzfl7Ko$-~^I@_wEUsn;3PFM2"
    "Z2P)c3R"
)


def mp4() -> bytes:
    """Returns the film in MP4."""
    return zlib.decompress(base64.b85decode(_MP4))


def matroska() -> bytes:
    """Returns the film in Matroska."""
    return zlib.decompress(base64.b85decode(_MATROSKA))


def avi() -> bytes:
    """Returns the film in AVI, each frame as JPEG."""
    frames = []
    for grey in GREYS:
        pixels = np.full((16, 16, 3), grey, np.uint8)
        pixels[:, :8, 2] //= 2
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
        frames.append(buffer.getvalue())
    largest = max(map(len, frames))
    main = struct.pack("<14I", 100_000, 10 * largest, 0, 16, len(frames), 0, 1, largest, 16, 16, 0, 0, 0, 0)
    stream = struct.pack("<4s4sIHHIIIIIIII4H", b"vids", b"MJPG", 0, 0, 0, 0, 1, 10, 0, 4, largest, 0, 0, 0, 0, 16, 16)
    format = struct.pack("<IiiHH4sIiiII", 40, 16, 16, 1, 24, b"MJPG", 16 * 16 * 3, 0, 0, 0, 0)
    header = _chunk(b"avih", main) + _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", format))
    index, start = b"", 4
    for frame in frames:
        index += struct.pack("<4sIII", b"00dc", 16, start, len(frame))
        start += len(_chunk(b"00dc", frame))
    movie = b"".join(_chunk(b"00dc", frame) for frame in frames)
    return _chunk(b"RIFF", b"AVI " + _list(b"hdrl", header) + _list(b"movi", movie) + _chunk(b"idx1", index))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _list(name: bytes, content: bytes) -> bytes:
    return _chunk(b"LIST", name + content)


def encode(path: Path, clip: np.ndarray, *options: str, rate: float = 10) -> Path:
    """Writes a clip (T, H, W, 3) uint8 by FFmpeg, with further options of it, and returns the path."""
    import imageio_ffmpeg

    _, height, width, _ = clip.shape
    given = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate), "-i", "pipe:0")
    coded = ("-c:v", "libx264", "-crf", "4", "-pix_fmt", "yuv420p")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *given, *coded, *options, str(path)]
    subprocess.run(command, input=clip.tobytes(), check=True)
    return path
