"""Infotexts (generation parameters): written in A1111's format, read in A1111's and other programs' formats."""

from modules.infotext.from_image import extract_infotext as extract_infotext
from modules.infotext.read import InfotextContext as InfotextContext
from modules.infotext.read import InfotextResult as InfotextResult
from modules.infotext.read import interpret_infotext as interpret_infotext
from modules.infotext.text_format import Infotext as Infotext
from modules.infotext.text_format import format_infotext as format_infotext
from modules.infotext.text_format import parse_infotext as parse_infotext
from modules.infotext.text_format import quote as quote
from modules.infotext.write import create_infotext as create_infotext
